// Which rows of a long list are in sight: only those are drawn, however many there are.
import { useSignal, type ReadonlySignal } from "@preact/signals";
import { useLayoutEffect } from "preact/hooks";

export interface Seen {
  /** Width of the list, pixels. */
  width: number;
  /** Height of a row, pixels. */
  height: number;
  /** The first row to draw, and the first not to. */
  from: number;
  to: number;
}

/** Rows in sight of a list that stands in the page, and so many before and behind them. `n`: what the list
 * has; `height` is asked for with each look, for a phone has other rows. */
export function useSeen(own: { readonly current: HTMLElement | null }, n: number, more: number, height: () => number): ReadonlySignal<Seen> {
  const seen = useSignal<Seen>({ width: 1000, height: height(), from: 0, to: 40 });
  const row = height();
  useLayoutEffect(() => {
    const measure = () => {
      const box = own.current?.getBoundingClientRect();
      if (!box) return;
      const next = {
        width: box.width,
        height: height(),
        from: Math.max(0, Math.floor(-box.top / height()) - more),
        to: Math.ceil((window.innerHeight - box.top) / height()) + more,
      };
      const before = seen.peek();
      if ((Object.keys(next) as (keyof Seen)[]).some((key) => next[key] !== before[key])) seen.value = next;
    };
    measure();
    window.addEventListener("scroll", measure, { passive: true });
    window.addEventListener("resize", measure);
    return () => {
      window.removeEventListener("scroll", measure);
      window.removeEventListener("resize", measure);
    };
  }, [n, row]);
  return seen;
}
