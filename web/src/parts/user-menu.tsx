// Who is signed in, how the page looks, and the way out.
import { useEffect, useRef, useState } from "preact/hooks";
import { isHelpOpen } from "../keys";
import { isSearched } from "./host-search";
import { signOut, who } from "../session";
import { isDark, isUtc, nextTheme } from "../settings";

export function UserMenu() {
  const [isOpen, setOpen] = useState(false);
  const own = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const away = (event: Event) => {
      const isEscape = event instanceof KeyboardEvent && event.key === "Escape";
      const isOutside = event.type === "pointerdown" && !own.current?.contains(event.target as Node);
      if (isEscape || isOutside) setOpen(false);
    };
    document.addEventListener("pointerdown", away);
    document.addEventListener("keydown", away);
    return () => {
      document.removeEventListener("pointerdown", away);
      document.removeEventListener("keydown", away);
    };
  }, []);
  const does = (what: () => void) => () => {
    setOpen(false);
    what();
  };
  return (
    <div class="menu" ref={own}>
      <button type="button" aria-haspopup="true" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
        <span class="cut">{who.value?.name}</span>
        <svg width="8" height="5" viewBox="0 0 8 5" fill="currentColor" aria-hidden="true">
          <path d="M0 0h8L4 5Z" />
        </svg>
      </button>
      {isOpen && (
        <div>
          <div class="whoami">
            <strong>{who.value?.name}</strong>
            <div class="muted">{who.value?.role}</div>
          </div>
          <button type="button" onClick={does(nextTheme)}>
            {isDark.value ? "Light colours" : "Dark colours"}
          </button>
          <button type="button" onClick={does(() => (isUtc.value = !isUtc.value))}>
            {isUtc.value ? "Times in my zone" : "Times in UTC"}
          </button>
          <button type="button" onClick={does(() => (isHelpOpen.value = true))}>
            Keyboard <kbd>?</kbd>
          </button>
          <button
            type="button"
            onClick={does(() => {
              isSearched.value = "";
              void signOut();
            })}
          >
            Sign out
          </button>
        </div>
      )}
    </div>
  );
}
