// A line to copy: told once, selected by a click.
import { useState } from "preact/hooks";

export function CopyLine({ text, label }: { text: string; label: string }) {
  const [isCopied, setCopied] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setCopied(true);
    } catch {
      // Without TLS browsers give no clipboard; the line is selected by a click instead.
      setCopied(false);
    }
  };
  return (
    <div class="secret">
      <code aria-label={label}>{text}</code>
      {window.isSecureContext && (
        <button type="button" onClick={copy}>
          {isCopied ? "Copied" : "Copy"}
        </button>
      )}
    </div>
  );
}
