// Which key does what, here and now.
import { all, isHelpOpen } from "../keys";
import { Dialog } from "../parts/dialog";

export function HelpDialog() {
  return (
    <Dialog title="Keyboard" onClose={() => (isHelpOpen.value = false)}>
      <dl class="keys">
        {all().flatMap((key) => [
          <dt key={`${key.keys} `}>
            {key.keys.split(" ").map((one) => (
              <kbd key={one}>{one}</kbd>
            ))}
          </dt>,
          <dd key={key.keys}>{key.does}</dd>,
        ])}
      </dl>
    </Dialog>
  );
}
