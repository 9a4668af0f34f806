/** A row as its file has it; `line` is where it begins, of a JSON array its number. */
export type RawRow = { readonly line: number; readonly fields: Readonly<Record<string, unknown>> };
