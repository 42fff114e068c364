// Tables: what each column shows of a row and what hovering tells; as they come, or sorted by their columns.
import type { ComponentChildren } from "preact";
import { exact } from "../format";

export interface Shown<Row> {
  /** Empty above what can be done with each row. */
  title: string;
  show: (row: Row) => ComponentChildren;
  class?: string;
  hint?: (row: Row) => string | undefined;
}

export interface Column<Row> extends Shown<Row> {
  key: string;
  /** By what it is sorted: numbers fall, words rise; what is not known comes last. */
  of: (row: Row) => number | string | null;
}

/** A column of numbers. */
export function number<Row>(key: string, title: string, of: (row: Row) => number | null | undefined, show: (value: number) => string): Column<Row> {
  return {
    key,
    title,
    of: (row) => of(row) ?? null,
    show: (row) => {
      const value = of(row);
      return value == null ? "–" : show(value);
    },
    hint: (row) => {
      const value = of(row);
      return value == null ? "Not known" : exact(value);
    },
    class: "num",
  };
}

/** Sorted by a column's key, or the other way round with a minus before it; equal rows by `tie`. */
export function ordered<Row>(rows: Row[], columns: Column<Row>[], by: string, tie: (a: Row, b: Row) => number): Row[] {
  const key = by.replace(/^-/, "");
  const column = columns.find((one) => one.key === key) ?? columns[0]!;
  const turn = by.startsWith("-") ? -1 : 1;
  return rows.toSorted((a, b) => {
    const [x, y] = [column.of(a), column.of(b)];
    if (x === null || y === null) return x === y ? tie(a, b) : x === null ? 1 : -1;
    const order = typeof x === "string" ? (x < (y as string) ? -1 : x > (y as string) ? 1 : 0) : (y as number) - x;
    return turn * order || tie(a, b);
  });
}

interface Props<Row, Of extends Shown<Row>> {
  columns: Of[];
  rows: Row[];
  keyOf: (row: Row) => string | number;
  rowClass?: (row: Row) => string;
}

function Rows<Row>({ columns, rows, keyOf, rowClass }: Props<Row, Shown<Row>>) {
  return (
    <tbody>
      {rows.map((row) => (
        <tr key={keyOf(row)} class={rowClass?.(row)}>
          {columns.map((column) => (
            <td key={column.title} class={column.class} title={column.hint?.(row)}>
              {column.show(row)}
            </td>
          ))}
        </tr>
      ))}
    </tbody>
  );
}

/** In the order in which they come. `name`: of a table with nothing in it to go to, which keys then scroll as well. */
export function List<Row>(props: Props<Row, Shown<Row>> & { isDense?: boolean; name?: string }) {
  return (
    <div class="scroll" {...(props.name ? { role: "group", "aria-label": props.name, tabIndex: 0 } : {})}>
      <table class={props.isDense ? "list dense" : "list"}>
        <thead>
          <tr>
            {props.columns.map(({ title, class: look }) => (
              <th key={title} class={look?.startsWith("num") ? "num" : undefined}>
                {title || <span class="hidden">What can be done</span>}
              </th>
            ))}
          </tr>
        </thead>
        <Rows {...props} />
      </table>
    </div>
  );
}

export function Sorted<Row>(props: Props<Row, Column<Row>> & { sort: string; onSort: (by: string) => void }) {
  const { columns, sort, onSort } = props;
  const key = sort.replace(/^-/, "");
  const isUp = sort.startsWith("-");
  return (
    <table class="list dense">
      <thead>
        <tr>
          {columns.map((column) => (
            <th key={column.key} class={column.class} aria-sort={column.key === key ? (isUp ? "ascending" : "descending") : undefined}>
              <button type="button" onClick={() => onSort(sort === column.key ? `-${column.key}` : column.key)}>
                {column.title}
                {column.key === key && <span aria-hidden="true">{isUp ? " ↑" : " ↓"}</span>}
              </button>
            </th>
          ))}
        </tr>
      </thead>
      <Rows {...props} />
    </table>
  );
}
