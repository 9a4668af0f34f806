/**
 * Real text that any machine with the project has: the documentation of the installed packages.
 * Every package name falls, by its hash, in exactly one split: pretraining, datanet or held-out.
 */
import { createHash } from 'node:crypto';
import { type Dirent, readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import {
  cleanCode,
  cleanComment,
  cleanMarkdown,
  commentsOf,
  isMostlyEnglish,
  paragraphsOf,
} from './corpus-clean.ts';

export type Split = 'pretraining' | 'datanet' | 'held-out';

/** An installed package: `directory` is where its own files lie (nested node_modules excluded). */
export type InstalledPackage = { name: string; version: string; directory: string };

/** What is read of a package: its prose, the comments in its sources, or the sources without them. */
export type DocumentKind = 'documentation' | 'comments' | 'code';

/** One cleaned file of a package; `path` is relative to the package, with forward slashes. */
export type CorpusDocument = {
  package: string;
  path: string;
  kind: DocumentKind;
  text: string;
};

/** Longest file that is read. Larger ones are generated lists, and one would outweigh a split. */
const DOCUMENT_BYTES_MAX = 512 * 1024;
/** A paragraph shorter than this is too common to tell where it came from. */
const SHARED_PARAGRAPH_BYTES_MIN = 80;
/** Comments repeat ("@remarks Since 1.2.0"), and repetition teaches nothing: each is kept once. */
const REPEATED_COMMENT_BYTES_MIN = 12;
/** Code kept of one package: generated code (one file per language) would drown everything else. */
const CODE_BYTES_PER_PACKAGE_MAX = 32 * 1024;
/** A cleaned document shorter than this says nothing ("See the website"). */
const DOCUMENT_BYTES_MIN = 64;

const LEGAL_FILE = /(^|\/)(licen[cs]e|copying|notice|third[-_ ]?party|patents|authors)[^/]*$/i;
const PROSE_FILE =
  /(^|\/)((readme|changelog|history)(\.(md|markdown|txt))?|[^/]*\.(md|markdown))$/i;
const DOCS_TEXT_FILE = /(^|\/)docs?\/.*\.txt$/i;
const CODE_FILE = /\.([cm]?js|[cm]?ts)$/;
const GENERATED_CODE =
  /(^|\/)(tests?|__tests__|vectors|locales?|fixtures|bench)\/|[.-](min|test|spec|bundle)\./;
const SKIPPED_FOLDERS = new Set(['node_modules', '.git']);

/**
 * The split of a package, from SHA-256 of its name alone, so that it never changes with versions,
 * platforms or what else is installed: 60 % pretraining, 30 % datanet, 10 % held-out.
 */
export function splitOf(packageName: string): Split {
  const digest = createHash('sha256').update(packageName, 'utf8').digest();
  const percentile = digest.readUInt32BE(0) % 100;
  if (percentile < 60) return 'pretraining';
  return percentile < 90 ? 'datanet' : 'held-out';
}

/**
 * The packages below a node_modules folder, sorted by name, one version of each (the shallowest,
 * then the first path). Packages bound to a platform (`os` or `cpu` fields) are left out, because
 * they differ between machines; so are links, which lead to code of the project itself.
 */
export function listPackages(nodeModulesDirectory: string): InstalledPackage[] {
  const found = new Map<string, InstalledPackage>();
  let level = [nodeModulesDirectory];
  while (level.length > 0) {
    const next: string[] = [];
    for (const modules of level) {
      for (const directory of packageFolders(modules)) {
        next.push(join(directory, 'node_modules'));
        const installed = readPackage(directory);
        if (installed !== undefined && !found.has(installed.name)) {
          found.set(installed.name, installed);
        }
      }
    }
    level = next;
  }
  return [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

function packageFolders(modules: string): string[] {
  const folders: string[] = [];
  for (const entry of entriesOf(modules)) {
    if (!entry.isDirectory() || entry.name.startsWith('.')) continue;
    const path = join(modules, entry.name);
    if (!entry.name.startsWith('@')) folders.push(path);
    else {
      for (const scoped of entriesOf(path)) {
        if (scoped.isDirectory()) folders.push(join(path, scoped.name));
      }
    }
  }
  return folders;
}

function readPackage(directory: string): InstalledPackage | undefined {
  let manifest: unknown;
  try {
    manifest = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'));
  } catch {
    return undefined; // A folder without a readable manifest is no package.
  }
  if (typeof manifest !== 'object' || manifest === null) return undefined;
  const fields = manifest as { name?: unknown; version?: unknown; os?: unknown; cpu?: unknown };
  if (typeof fields.name !== 'string' || typeof fields.version !== 'string') return undefined;
  if (fields.os !== undefined || fields.cpu !== undefined) return undefined;
  return { name: fields.name, version: fields.version, directory };
}

/**
 * The cleaned documents of a package, sorted by path: READMEs, changelogs, every Markdown file and
 * the text files of its docs folders; with `kind` 'comments' or 'code', that part of its sources.
 * Licence texts, generated lists, and texts that are not mostly English are left out.
 */
export function documentsOf(
  installed: InstalledPackage,
  kind: DocumentKind = 'documentation',
): CorpusDocument[] {
  const documents: CorpusDocument[] = [];
  let bytesLeft = kind === 'code' ? CODE_BYTES_PER_PACKAGE_MAX : Number.POSITIVE_INFINITY;
  for (const path of filesOf(installed.directory)) {
    if (!isWanted(path, kind)) continue;
    const bytes = readFileSync(join(installed.directory, path));
    const text = cleanBytes(bytes, path, kind);
    if (text === undefined || text.length > bytesLeft) continue;
    bytesLeft -= text.length;
    documents.push({ package: installed.name, path, kind, text });
  }
  return documents;
}

/** Whether a path inside a package (forward slashes) is read for this kind of text. */
export function isWanted(path: string, kind: DocumentKind): boolean {
  if (LEGAL_FILE.test(path)) return false;
  if (kind === 'comments') return CODE_FILE.test(path);
  if (kind === 'code') return CODE_FILE.test(path) && !GENERATED_CODE.test(path);
  return PROSE_FILE.test(path) || DOCS_TEXT_FILE.test(path);
}

function cleanBytes(bytes: Uint8Array, path: string, kind: DocumentKind): string | undefined {
  if (bytes.length > DOCUMENT_BYTES_MAX) return undefined;
  let raw: string;
  try {
    raw = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return undefined; // Not UTF-8, so not text that we can count bytes of.
  }
  const text = cleanText(raw, path, kind);
  if (Buffer.byteLength(text) < DOCUMENT_BYTES_MIN || !isMostlyEnglish(text)) return undefined;
  return `${text}\n`;
}

function cleanText(raw: string, path: string, kind: DocumentKind): string {
  if (kind === 'code') return cleanCode(raw);
  if (kind === 'documentation') return cleanMarkdown(raw, !path.endsWith('.txt'));
  return commentsOf(raw).map(cleanComment).filter(Boolean).join('\n\n');
}

function filesOf(directory: string): string[] {
  const files: string[] = [];
  const walk = (relative: string): void => {
    for (const entry of entriesOf(join(directory, relative))) {
      const path = posix.join(relative, entry.name);
      if (entry.isFile()) files.push(path);
      else if (entry.isDirectory() && !SKIPPED_FOLDERS.has(entry.name)) walk(path);
    }
  };
  walk('');
  return files.sort((a, b) => (a < b ? -1 : 1));
}

function entriesOf(directory: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true }).sort((a, b) =>
      a.name < b.name ? -1 : 1,
    );
  } catch {
    return []; // Most packages have no nested node_modules.
  }
}

/**
 * Removes from `documents` every paragraph of 80 bytes or more that `forbidden` holds or that an
 * earlier document already had, so that text shared between packages (contribution guides of one
 * monorepo, copied READMEs) neither leaks across splits nor is learnt twice.
 *
 * @param forbidden keys made by `paragraphKeys`
 */
export function withoutSharedParagraphs(
  documents: readonly CorpusDocument[],
  forbidden: ReadonlySet<string>,
): CorpusDocument[] {
  const seen = new Set<string>();
  const kept: CorpusDocument[] = [];
  for (const document of documents) {
    const paragraphs = paragraphsOf(document.text).filter((paragraph) => {
      const isComment = document.kind === 'comments';
      const key = paragraphKey(
        paragraph,
        isComment ? REPEATED_COMMENT_BYTES_MIN : SHARED_PARAGRAPH_BYTES_MIN,
      );
      if (key === undefined) return true;
      if (forbidden.has(key) || seen.has(key)) return false;
      seen.add(key);
      return true;
    });
    const text = `${paragraphs.join('\n\n')}\n`;
    if (Buffer.byteLength(text) >= DOCUMENT_BYTES_MIN) kept.push({ ...document, text });
  }
  return kept;
}

/** The keys of all paragraphs of 80 bytes or more, equal when only white space differs. */
export function paragraphKeys(documents: readonly CorpusDocument[]): Set<string> {
  const keys = new Set<string>();
  for (const document of documents) {
    for (const paragraph of paragraphsOf(document.text)) {
      const key = paragraphKey(paragraph, SHARED_PARAGRAPH_BYTES_MIN);
      if (key !== undefined) keys.add(key);
    }
  }
  return keys;
}

function paragraphKey(paragraph: string, bytesMin: number): string | undefined {
  const plain = paragraph.replace(/\s+/g, ' ').trim();
  return Buffer.byteLength(plain) < bytesMin ? undefined : plain;
}

/** The three splits of the documentation below a node_modules folder. */
export type CorpusSplits = Record<Split, CorpusDocument[]>;

/**
 * Reads the whole corpus. Pretraining holds documentation and then, because documentation alone is
 * too little to train on, comments and code; datanet and held-out hold documentation only.
 */
export function readCorpus(nodeModulesDirectory: string): CorpusSplits {
  const packages = listPackages(nodeModulesDirectory);
  const of = (split: Split, kind: DocumentKind) =>
    packages
      .filter(({ name }) => splitOf(name) === split)
      .flatMap((installed) => documentsOf(installed, kind));
  const datanet = of('datanet', 'documentation');
  const heldOut = of('held-out', 'documentation');
  const pretraining = (['documentation', 'comments', 'code'] as const).flatMap((kind) =>
    of('pretraining', kind),
  );
  const forbidden = paragraphKeys([...datanet, ...heldOut]);
  return {
    pretraining: withoutSharedParagraphs(pretraining, forbidden),
    datanet,
    'held-out': heldOut,
  };
}
