/**
 * What is fuzzed: a reader of strangers' files, valid files for it, and what must hold of whatever it
 * accepts. A reader may refuse by a ModelError and by nothing else.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  ModelError,
  makeTokenizer,
  type NamedTensor,
  type PhiloxStream,
  readSafetensors,
  writeSafetensors,
} from '#runtime';
import { mutateJson } from './mutate.ts';

/** One case: whether the reader took it, and how far it came. */
export type Outcome = {
  /** 'accepted' or the code of the error. */
  readonly verdict: string;
  /** Whether the container was parsed, so that its content was judged. */
  readonly isPastParsing: boolean;
};

/** A reader under test. */
export type FuzzedReader = (dice: PhiloxStream) => Outcome;

/** Safetensors: the header as JSON, its length, and the bytes around it. */
export function safetensorsReader(): FuzzedReader {
  return (dice) => {
    const bytes = mutateFile(randomFile(dice), dice);
    return judge(
      () => {
        const file = readSafetensors(bytes, 'fuzz.safetensors');
        for (const [name, { shape }] of file.entries) {
          const count = shape.reduce((product, size) => product * size, 1);
          const values = file.tensor(name);
          if (values.length !== count) throw new Error(`${name}: ${values.length}, not ${count}`);
        }
      },
      ({ code, details }) =>
        !(code === 'SAFETENSORS_TRUNCATED' && details.key !== undefined && isFrame(details.key)) &&
        !(code === 'SAFETENSORS_HEADER_INVALID' && isFrame(details.key ?? '')),
    );
  };
}

const isFrame = (key: string) => key === 'length' || key === 'header';

function randomFile(dice: PhiloxStream): Uint8Array {
  const tensors = Array.from({ length: 1 + dice.below(4) }, (_, i): NamedTensor => {
    const shape = Array.from({ length: dice.below(4) }, () => dice.below(5));
    const count = shape.reduce((product, size) => product * size, 1);
    return { name: `layer.${i}.weight`, shape, values: new Float32Array(count).fill(i / 3) };
  });
  const metadata = dice.below(2) === 0 ? {} : { format: 'pt' };
  return writeSafetensors(tensors, dice.below(2) === 0 ? 'F32' : 'BF16', metadata);
}

function mutateFile(file: Uint8Array, dice: PhiloxStream): Uint8Array {
  const headerBytes = Number(new DataView(file.buffer).getBigUint64(0, true));
  const header: unknown = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + headerBytes)));
  const data = file.subarray(8 + headerBytes);
  const kind = dice.below(10);
  const text = JSON.stringify(kind < 7 ? mutateJson(header, dice) : header);
  const json = new TextEncoder().encode(text);
  const length = kind === 7 ? dice.word() % (2 * json.length) : json.length;
  const bytes = new Uint8Array(8 + json.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(json, 8);
  bytes.set(data, 8 + json.length);
  if (kind === 8) return bytes.subarray(0, dice.below(bytes.length + 1));
  for (let i = 0; kind === 9 && i < 3; i++) bytes[dice.below(bytes.length)] = dice.below(256);
  return bytes;
}

/** Tokenizers of the golden files, cut down to few tokens so that many cases fit in a minute. */
export function tokenizerReader(goldenFolder: string): FuzzedReader {
  const seeds = ['qwen', 'llama3', 'llama2'].map((name) => {
    const text = readFileSync(join(goldenFolder, `${name}.json`), 'utf8');
    const { tokenizer, config } = JSON.parse(text) as { tokenizer: Small; config: object };
    return { tokenizer: cutDown(tokenizer), config };
  });
  return (dice) => {
    const seed = structuredClone(seeds[dice.below(seeds.length)]);
    const mutated = mutateJson(seed, dice) as Partial<typeof seed> | null;
    const { tokenizer, config } = mutated ?? {};
    return judge(
      () => {
        const made = makeTokenizer(tokenizer, config, 400);
        for (const content of ['a peer', '<|im_end|> the\n']) {
          made.decode(made.encode(content));
          made.encodeChat([{ role: 'user', content }]);
        }
      },
      ({ details }) => details.key !== '(root)' && details.key !== 'model.type',
    );
  };
}

type Small = { model: { vocab: Record<string, number>; merges: [string, string][] } };

function cutDown(tokenizer: Small): Small {
  const { model } = tokenizer;
  const merges = model.merges.slice(0, 12);
  const kept = new Set(merges.flatMap(([a, b]) => [a, b, a + b]));
  const isSmall = (token: string) =>
    [...token].length === 1 || kept.has(token) || /^<0x[67]/.test(token);
  const vocab = Object.entries(model.vocab).filter(([token]) => isSmall(token));
  const few = vocab.filter(([token]) => kept.has(token) || /^[\x21-\x7e\u0120\u2581<]/.test(token));
  return { ...tokenizer, model: { ...model, merges, vocab: Object.fromEntries(few) } };
}

/** Runs a reader; `isPastParsing` says of an error whether the container was understood before it. */
export function judge(run: () => void, isPastParsing: (error: ModelError) => boolean): Outcome {
  try {
    run();
    return { verdict: 'accepted', isPastParsing: true };
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return { verdict: error.code, isPastParsing: isPastParsing(error) };
  }
}
