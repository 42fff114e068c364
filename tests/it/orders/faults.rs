//! Agents and hubs that are killed and links that are cut while orders are on their way.

use super::Field;

#[test]
fn order_for_an_agent_that_is_away_waits_for_it_and_runs_once() {
    let mut field = Field::new(&[("a", &[])]);
    field.agents[0].kill().unwrap();
    field.wait_for_link("a", "down");
    let job = field.marking("late", "true");
    let id = field.order_of("a", &job);
    assert_eq!(field.run(&id)["delivered"], false);
    field.hub.kill().unwrap();
    field.hub.start_again().unwrap();
    assert_eq!(field.run(&id)["state"], "queued");
    field.agents[0].start_again().unwrap();
    field.in_state(&id, "succeeded");
    assert_eq!(field.n_effects("late"), 1);
}
