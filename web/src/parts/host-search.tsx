// The search on top: filters the fleet where it is shown, and leads to hosts from everywhere else.
import { computed, signal } from "@preact/signals";
import { useState } from "preact/hooks";
import { hosts, refreshFleet } from "../fleet/store";
import { matches } from "../fleet/select";
import { go, hostLink, params, path, setParams } from "../router";
import { healthOf, Mark } from "./state";

const N_FOUND_MAX = 8;
/** What is searched for where it does not filter the view. */
export const isSearched = signal("");
const found = computed(() => {
  const text = isSearched.value;
  return text ? hosts.value.filter((host) => matches(host, text)).slice(0, N_FOUND_MAX) : [];
});

export function HostSearch() {
  const [at, setAt] = useState(0);
  const filters = path.value === "/" || path.value === "/agents";
  const text = filters ? (params.value.get("q") ?? "") : isSearched.value;
  const list = filters ? [] : found.value;
  const take = (value: string) => {
    setAt(0);
    if (filters) setParams({ q: value });
    else isSearched.value = value;
  };
  const press = (event: KeyboardEvent) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      setAt((at + (event.key === "ArrowDown" ? 1 : list.length - 1)) % Math.max(1, list.length));
    } else if (event.key === "Enter") {
      const chosen = filters ? null : list[at];
      if (chosen) {
        isSearched.value = "";
        (event.target as HTMLElement).blur();
        go(hostLink(chosen.name));
      } else if (filters) {
        document.querySelector<HTMLElement>("[data-row] a")?.focus();
      }
    } else if (event.key === "Escape") {
      take("");
    }
  };
  return (
    <div class="search" role="search">
      <input
        id="search"
        type="search"
        placeholder={filters ? "Filter hosts" : "Go to a host"}
        aria-label={filters ? "Filter hosts by name, role:, state:, label=" : "Go to a host"}
        title="Words of names, roles and labels; role:web, state:down, site=berlin"
        autocomplete="off"
        spellcheck={false}
        value={text}
        onFocus={() => {
          if (!filters) void refreshFleet(30_000);
        }}
        onInput={(event) => take(event.currentTarget.value)}
        onKeyDown={press}
      />
      <kbd aria-hidden="true">/</kbd>
      {list.length > 0 && (
        <ul class="found" role="listbox" aria-label="Hosts">
          {list.map((host, index) => (
            <li key={host.id}>
              <a
                href={hostLink(host.name)}
                role="option"
                aria-selected={index === at}
                onClick={() => {
                  isSearched.value = "";
                }}
              >
                <Mark health={healthOf(host)} />
                <span class="cut">{host.name}</span>
              </a>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
