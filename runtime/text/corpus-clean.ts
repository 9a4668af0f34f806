/** Pure, deterministic cleaning of documentation text: what a reader would not read is left out. */

/** A line longer than this is data or minified code, not prose. */
const LINE_CHARS_MAX = 1_000;
/** Nobody writes code lines of this length by hand. */
const CODE_LINE_CHARS_MAX = 300;
/** Fifty or more of these in a row: base64, hashes, keys, signatures, long rules of dashes. */
const UNREADABLE_RUN = /[A-Za-z0-9+/=_-]{50,}/;
const BADGE = /\[?!\[[^\]]*\](\([^)]*\)|\[[^\]]*\])\]?(\([^)]*\)|\[[^\]]*\])?/g;
const COMMIT_LINK = /\s*\(?\[`?[0-9a-f]{7,40}`?\]\([^)]*\)\)?/g;
const LINK = /\[([^\]\n]+)\]\((?:[^()\s]|\([^()\s]*\))*(?:\s+"[^"]*")?\)/g;
const LINK_DEFINITION = /^\s*\[[^\]]+\]:\s*<?(https?:|#|\.|\/)/;
const TAG_LINE = /^\s*(<\/?[a-z][a-z0-9-]*(\s[^<>]*)?\/?>\s*)+$/i;

/**
 * Cleans one Markdown or text file: newlines normalised, HTML comments, badges, link targets, lines
 * of tags, and unreadable lines removed, at most one blank line in a row, no white space at ends.
 * Inside code fences only unreadable lines are removed.
 *
 * @param markdown false for plain text, where brackets and tags mean nothing
 */
export function cleanMarkdown(raw: string, markdown = true): string {
  let text = normaliseNewlines(raw);
  if (markdown) text = text.replace(/<!--[\s\S]*?-->/g, '');
  let fenced = false;
  const lines: string[] = [];
  for (const line of text.split('\n')) {
    if (/^\s*(```|~~~)/.test(line)) fenced = !fenced;
    const cleaned = fenced || !markdown ? line : cleanMarkdownLine(line);
    if (cleaned === undefined || isUnreadable(cleaned)) continue;
    lines.push(cleaned.trimEnd());
  }
  return joinLines(lines);
}

function cleanMarkdownLine(line: string): string | undefined {
  if (TAG_LINE.test(line) || LINK_DEFINITION.test(line)) return undefined;
  const cleaned = line.replace(BADGE, '').replace(COMMIT_LINK, '').replace(LINK, '$1');
  return cleaned.trim() === '' && line.trim() !== '' ? undefined : cleaned;
}

function isUnreadable(line: string): boolean {
  return line.length > LINE_CHARS_MAX || UNREADABLE_RUN.test(line);
}

function normaliseNewlines(raw: string): string {
  return raw
    .replace(/^\uFEFF/, '')
    .replace(/\r\n?/g, '\n')
    .replace(/[\u2028\u2029\u0085]/g, '\n')
    .replace(/\t/g, '  ');
}

function joinLines(lines: readonly string[]): string {
  return lines
    .join('\n')
    .replace(/\n{3,}/g, '\n\n')
    .replace(/^\n+|\s+$/g, '');
}

/** The documentation comments (`/** … *\/`) of a source file, in order, still with their stars. */
export function commentsOf(source: string): string[] {
  const text = normaliseNewlines(source);
  return text.match(/\/\*\*(?!\/)[\s\S]*?\*\//g) ?? [];
}

/**
 * One documentation comment without its stars, or '' where it holds nothing to learn from: licence
 * headers, directives for tools, commented-out code, or fewer than 40 characters.
 */
export function cleanComment(comment: string): string {
  const body = comment
    .slice(3, -2)
    .split('\n')
    .map((line) => line.replace(/^\s*\* ?/, ''))
    .join('\n');
  if (/licen[cs]e|copyright|@preserve|eslint|sourceMapping|@generated|istanbul/i.test(body))
    return '';
  const cleaned = cleanMarkdown(body).trim();
  return cleaned.length < 40 || !/[a-z]{3,} [a-z]{2,}/i.test(cleaned) ? '' : cleaned;
}

/**
 * A source file without its block comments, or '' where it is minified (any line above 300
 * characters) or was written by a program.
 */
export function cleanCode(source: string): string {
  const text = normaliseNewlines(source);
  if (/@generated|webpackBootstrap/.test(text)) return '';
  if (text.split('\n').some((line) => line.length > CODE_LINE_CHARS_MAX)) return '';
  const lines = text
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .split('\n')
    .filter(
      (line) => !isUnreadable(line) && !/sourceMapping|eslint-|licen[cs]e|copyright/i.test(line),
    )
    .map((line) => line.trimEnd());
  return joinLines(lines);
}

/** Whether at most one character in ten lies outside ASCII. */
export function isMostlyEnglish(text: string): boolean {
  let foreign = 0;
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 127) foreign++;
  return foreign * 10 <= text.length;
}

/** The paragraphs of a cleaned text: what stands between blank lines. */
export function paragraphsOf(text: string): string[] {
  return text
    .split(/\n{2,}/)
    .map((paragraph) => paragraph.replace(/\s+$/, ''))
    .filter((paragraph) => paragraph.trim() !== '');
}
