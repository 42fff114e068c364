// What a view says when it has nothing to show: that it waits, that there is nothing, or why it cannot.
import type { ComponentChildren } from "preact";

export function Waiting({ what }: { what: string }) {
  return (
    <p class="wait" role="status">
      {what}
    </p>
  );
}

export function Empty(props: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <h2>{props.title}</h2>
      {props.children}
    </div>
  );
}

export function Problem({ text }: { text: string }) {
  return text ? (
    <p class="problem" role="alert">
      {text}
    </p>
  ) : null;
}
