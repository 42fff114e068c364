// A dialog of the browser's own: it holds the focus, and Escape closes it.
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

export function Dialog(props: { title: string; onClose: () => void; isWide?: boolean; children: ComponentChildren }) {
  const own = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    own.current?.showModal();
  }, []);
  return (
    <dialog ref={own} class={props.isWide ? "wide-dialog" : undefined} onClose={props.onClose} aria-label={props.title}>
      <div class="dialog-head">
        <h2>{props.title}</h2>
        <button type="button" class="plain" aria-label="Close" onClick={() => own.current?.close()}>
          ×
        </button>
      </div>
      {props.children}
    </dialog>
  );
}
