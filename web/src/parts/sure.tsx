// A question before what cannot be taken back: what will happen, and a button that says so.
import { useState } from "preact/hooks";
import { words } from "../api/client";
import { Dialog } from "./dialog";
import { Problem } from "./messages";

export function Sure(props: { title: string; text: string; run: () => Promise<unknown>; onClose: () => void }) {
  const [problem, setProblem] = useState("");
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    try {
      await props.run();
      props.onClose();
    } catch (error) {
      setProblem(words(error));
    }
  };
  return (
    <Dialog title={props.title} onClose={props.onClose}>
      <form class="fields" onSubmit={submit}>
        <p>{props.text}</p>
        <Problem text={problem} />
        <div class="acts">
          <button class="primary" autofocus>
            {props.title}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
