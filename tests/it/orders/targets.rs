//! Who gets an order, and who not; what comes back.

use serde_json::json;

use super::Field;

#[test]
fn order_runs_on_the_agent_that_is_named_or_on_one_or_all_that_hold_a_role() {
    let field = Field::new(&[
        ("web-1", &["--role", "web", "--label", "site=a"]),
        ("web-2", &["--role", "web", "--role", "db"]),
        ("shut", &["--role", "web", "--allow-jobs", "off"]),
    ]);
    let named = field.order_of("web-2", &field.marking("named", "exit 3"));
    let run = field.in_state(&named, "failed");
    assert_eq!((&run["agent"], &run["outcome"]["code"]), (&json!("web-2"), &json!(3)));

    let any = field.order(&field.marking("any", "true"), &json!({ "roles": ["*"] }));
    assert_eq!(any.len(), 1);
    field.in_state(&any[0], "succeeded");
    assert_eq!(field.n_effects("any"), 1, "any one agent, never all of them");

    let all = field.order(&field.marking("all", "true"), &json!({ "roles": ["web"], "fanout": true }));
    assert_eq!(all.len(), 2, "one admits no jobs");
    let mut agents: Vec<_> = all.iter().map(|id| field.in_state(id, "succeeded")["agent"].clone()).collect();
    agents.sort_by_key(ToString::to_string);
    assert_eq!(agents, ["web-1", "web-2"]);
    assert_eq!(field.n_effects("all"), 2);

    let one = field.order(&field.marking("label", "true"), &json!({ "labels": { "site": "a" } }));
    assert_eq!(field.in_state(&one[0], "succeeded")["agent"], "web-1");
}
