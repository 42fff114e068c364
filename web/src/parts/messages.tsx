// What a view says when it has nothing to show: that it waits, that there is nothing, or why it cannot.
import type { ComponentChildren } from "preact";
import { UNREACHED } from "../api/client";

export function Waiting({ what }: { what: string }) {
  return (
    <p class="wait" role="status">
      {what}
    </p>
  );
}

/** `isAll`: there is nothing else on the page. */
export function Empty(props: { title: string; isAll?: boolean; children?: ComponentChildren }) {
  return (
    <div class="empty">
      {props.isAll ? <h1>{props.title}</h1> : <h2>{props.title}</h2>}
      {props.children}
    </div>
  );
}

/** That the hub is away stands above the page: it is said again only where there is nothing else to show. */
export function Problem({ text }: { text: string }) {
  return text ? (
    <p class={text === UNREACHED ? "problem unreached" : "problem"} role="alert">
      {text}
    </p>
  ) : null;
}
