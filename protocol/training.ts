/**
 * What a training task fixes, what its result commits to, and what each verifier has to recompute
 * (docs/protocol.md, section 3).
 */
import {
  type Address,
  addressWord,
  type Bytes32,
  buildTree,
  bytes32,
  concat,
  fromHex,
  keccak256,
  type MerkleProof,
  type MerkleTree,
  taggedHash,
  toHex,
  toUint,
  uint256,
  verifyLeaf,
} from '#crypto';
import { type CID, cidOf, digestOfCid, RAW } from './cbor.ts';
import {
  bool,
  bytes,
  type Codec,
  type Decoded,
  decodeWith,
  encodeWith,
  fraction,
  hash32,
  link,
  list,
  literal,
  object,
  uint,
  uint32,
  type ValueOf,
} from './codec.ts';

/** Checkpoint segments in one task; bounds manifests. */
export const SEGMENTS_MAX = 65_536;
const SPEC_BYTES_MAX = 4096;
const MANIFEST_BYTES_MAX = 64 * 1024 * 1024;

const settings = {
  base: hash32,
  batch: uint32,
  checkpointEvery: uint32,
  contextLength: uint32,
  datanetId: hash32,
  lanes: uint32,
  lora: object({ alpha: fraction, rank: uint32 }),
  optimiser: object({
    beta1: fraction,
    beta2: fraction,
    clipNorm: fraction,
    epsilon: fraction,
    weightDecay: fraction,
  }),
  schedule: object({
    floor: fraction,
    kind: literal('constant', 'cosine', 'linear'),
    learningRate: fraction,
    warmupSteps: uint32,
  }),
  seed: uint32,
  sketchSeed: uint32,
  sketchSize: literal(256),
  steps: uint32,
  version: uint32,
};

/** The modules that a spec may name as targets, in the order in which it names them. */
export const TARGET_MODULES = [
  ...(['q_proj', 'k_proj', 'v_proj', 'o_proj'] as const),
  ...(['gate_proj', 'up_proj', 'down_proj'] as const),
];
const optionsCodec = object({
  dropout: fraction,
  packTokens: uint32,
  rankStabilised: bool,
  targets: list(literal(...TARGET_MODULES), TARGET_MODULES.length),
});

/**
 * Settings that most tasks leave alone. `dropout`: share of the adapter's inputs that each record's
 * pass leaves out. `packTokens`: short records share an item of the batch up to so many tokens.
 */
export type TaskOptions = ValueOf<typeof optionsCodec>;
export const USUAL_OPTIONS: TaskOptions = {
  dropout: 0,
  packTokens: 0,
  rankStabilised: false,
  targets: TARGET_MODULES,
};

const plainSpec = object({ ...settings, v: literal(1) });
const specWithOptions = object({ ...settings, options: optionsCodec, v: literal(2) });
type Settings = Omit<ValueOf<typeof plainSpec>, 'v'>;
type AnySpec = ValueOf<typeof plainSpec> | ValueOf<typeof specWithOptions>;

const specCodec: Codec<AnySpec> = {
  read: (value, path) => {
    const isSecond = (value as { v?: unknown } | null)?.v === 2;
    return (isSecond ? specWithOptions : plainSpec).read(value, path);
  },
  write: (value) => (value.v === 2 ? specWithOptions : plainSpec).write(value as never),
};

/**
 * Everything that a training run depends on; its digest is on chain. `lanes` are gradient
 * accumulators. A spec without options has the usual ones, and only so is it written.
 */
export type TaskSpec = Settings & { readonly options?: TaskOptions };

export function encodeTaskSpec(spec: TaskSpec): Uint8Array {
  const { options, ...plain } = spec;
  if (options === undefined || isUsual(options)) return encodeWith(specCodec, { ...plain, v: 1 });
  return encodeWith(specCodec, { ...plain, options, v: 2 });
}

const isUsual = (options: TaskOptions): boolean =>
  options.dropout === 0 &&
  options.packTokens === 0 &&
  !options.rankStabilised &&
  options.targets.length === TARGET_MODULES.length;

export type TaskSpecFault = 'SPEC_NO_STEPS' | 'SPEC_UNEVEN_SEGMENTS' | 'SPEC_OPTIONS';
export type DecodedTaskSpec =
  | Decoded<TaskSpec>
  | {
      readonly ok: false;
      readonly code: TaskSpecFault;
      readonly at: string;
      readonly message: string;
    };

/** A spec whose steps fall into whole segments. */
export function decodeTaskSpec(encoded: Uint8Array): DecodedTaskSpec {
  const decoded = decodeWith(specCodec, encoded, SPEC_BYTES_MAX);
  if (!decoded.ok) return decoded;
  const { v: _, ...value } = decoded.value;
  if (value.steps === 0 || value.checkpointEvery === 0 || value.batch === 0) {
    const message = 'expected at least one step, one example a step and one step a segment';
    return { ok: false, code: 'SPEC_NO_STEPS', at: 'steps', message };
  }
  if (value.steps % value.checkpointEvery !== 0 || segmentCount(value) > SEGMENTS_MAX) {
    const message = `expected steps in whole segments of ${value.checkpointEvery}, at most ${SEGMENTS_MAX}`;
    return { ok: false, code: 'SPEC_UNEVEN_SEGMENTS', at: 'checkpointEvery', message };
  }
  const message = 'options' in value ? faultOf(value.options) : null;
  if (message !== null) return { ok: false, code: 'SPEC_OPTIONS', at: 'options', message };
  return { ok: true, value };
}

/** What is wrong with options, or null. One meaning has one spelling. */
function faultOf(options: TaskOptions): string | null {
  if (isUsual(options)) return 'expected options other than the usual, which version 1 has';
  if (options.dropout >= 1) return `expected dropout below 1, got ${options.dropout}`;
  const places = options.targets.map((each) => TARGET_MODULES.indexOf(each));
  const isSorted = places.every((place, i) => i === 0 || place > (places[i - 1] ?? 0));
  if (isSorted && places.length > 0) return null;
  return `expected targets, each once, in the order ${TARGET_MODULES.join(' ')}`;
}

/** Segments of a task: n; checkpoints are 0 … n. */
export function segmentCount(spec: Pick<TaskSpec, 'steps' | 'checkpointEvery'>): number {
  return spec.steps / spec.checkpointEvery;
}

/** The digest that stands on chain, of the spec's canonical bytes. */
export function taskSpecDigest(spec: TaskSpec): Bytes32 {
  return digestOfCid(cidOf(encodeTaskSpec(spec)));
}

/** One checkpoint of a trace: hashes of the state after it and of the losses of its segment. */
export type TraceLeaf = {
  readonly index: number;
  readonly stateHash: Bytes32;
  readonly lossesHash: Bytes32;
};

/** The leaf of checkpoint `index`: state bytes, and the losses since the checkpoint before. */
export function traceLeafOf(index: number, state: Uint8Array, losses: Uint8Array): TraceLeaf {
  return { index, stateHash: toHex(keccak256(state)), lossesHash: toHex(keccak256(losses)) };
}

/** Words `(j, keccak256(stateBytes), keccak256(lossesBytes))`. */
export function traceLeafBytes(leaf: TraceLeaf): Uint8Array {
  return concat(uint256(leaf.index), bytes32(leaf.stateHash), bytes32(leaf.lossesHash));
}

/** The tree over checkpoints 0 … n whose root is traceRoot; its beginning is a heartbeat's root. */
export function traceTree(leaves: readonly TraceLeaf[]): MerkleTree {
  return buildTree(leaves.map(traceLeafBytes));
}

export function verifyTrace(root: Bytes32, leaf: TraceLeaf, proof: MerkleProof): boolean {
  return proof.index === leaf.index && verifyLeaf(fromHex(root), traceLeafBytes(leaf), proof);
}

export type TaskResult = {
  readonly traceRoot: Bytes32;
  readonly adapterHash: Bytes32;
  readonly sketchRoot: Bytes32;
  /** Digest of the result manifest. */
  readonly manifest: Bytes32;
};

/**
 * `hash('openledger/result/1', taskId, provider, traceRoot, adapterHash, sketchRoot, manifest,
 * salt)`.
 */
export function resultHash(
  taskId: number | bigint,
  provider: Address,
  result: TaskResult,
  salt: Bytes32,
): Bytes32 {
  return toHex(
    taggedHash(
      'openledger/result/1',
      uint256(taskId),
      addressWord(provider),
      bytes32(result.traceRoot),
      bytes32(result.adapterHash),
      bytes32(result.sketchRoot),
      bytes32(result.manifest),
      bytes32(salt),
    ),
  );
}

/** `hash('openledger/adapter/1', taskId, adapterHash)`. */
export function adapterIdOf(taskId: number | bigint, adapterHash: Bytes32): Bytes32 {
  return toHex(taggedHash('openledger/adapter/1', uint256(taskId), bytes32(adapterHash)));
}

/** float32, little-endian, of the steps of one segment. */
const LOSSES_BYTES_MAX = 4 * 4096;
const CALIBRATION_BYTES_MAX = 1 << 20;

const resultManifestCodec = object({
  adapter: link(),
  calibration: bytes({ max: CALIBRATION_BYTES_MAX }),
  checkpoints: list(
    object({ losses: bytes({ max: LOSSES_BYTES_MAX }), state: link(), stateHash: hash32 }),
    SEGMENTS_MAX + 1,
  ),
  sketches: link(),
  taskId: uint(),
  v: literal(1),
});

/**
 * Where a result's bytes are: the adapter, the states and losses of all checkpoints in order, what
 * calibrates the sketches, and the sketches, 256 bytes a record, in version order. Links lead to
 * objects of any length (a dag-cbor list of chunks).
 */
export type ResultManifest = Omit<ValueOf<typeof resultManifestCodec>, 'v'>;

export function encodeResultManifest(manifest: ResultManifest): Uint8Array {
  return encodeWith(resultManifestCodec, { ...manifest, v: 1 });
}

export function decodeResultManifest(encoded: Uint8Array): Decoded<ResultManifest> {
  const decoded = decodeWith(resultManifestCodec, encoded, MANIFEST_BYTES_MAX);
  if (!decoded.ok) return decoded;
  const { v: _, ...value } = decoded.value;
  return { ok: true, value };
}

/** The trace leaves that a manifest speaks of. */
export function traceOfManifest(manifest: ResultManifest): readonly TraceLeaf[] {
  return manifest.checkpoints.map(({ stateHash, losses }, index) => ({
    index,
    stateHash,
    lossesHash: toHex(keccak256(losses)),
  }));
}

/** The losses of all steps, in order. */
export function lossesOf(manifest: ResultManifest): number[] {
  return manifest.checkpoints.flatMap(({ losses }) => {
    const view = new DataView(losses.buffer, losses.byteOffset, losses.byteLength);
    return Array.from({ length: losses.byteLength >> 2 }, (_, i) => view.getFloat32(i * 4, true));
  });
}

/** The identity of an adapter's bytes on chain. */
export const adapterHashOf = (parameters: Uint8Array): Bytes32 => toHex(keccak256(parameters));

/** The CID of plain bytes. */
export function rawCid(bytes: Uint8Array): CID {
  return cidOf(bytes, RAW);
}

function drawn(tag: string, seed: Bytes32, verifier: Address, count: number, modulus: number) {
  if (modulus === 0) return [];
  return Array.from({ length: count }, (_, i) => {
    const hash = taggedHash(tag, bytes32(seed), addressWord(verifier), uint256(i));
    return Number(toUint(hash) % BigInt(modulus));
  });
}

/** The segments that the seed assigns to a verifier; the same may come twice. */
export function assignedSegments(
  seed: Bytes32,
  verifier: Address,
  count: number,
  segments: number,
): readonly number[] {
  return drawn('openledger/segment/1', seed, verifier, count, segments);
}

/** The records whose sketches the seed has a verifier recompute. */
export function assignedSamples(
  seed: Bytes32,
  verifier: Address,
  count: number,
  records: number,
): readonly number[] {
  return drawn('openledger/sample/1', seed, verifier, count, records);
}

export type Verdict = 'VALID' | 'INVALID';
/** Verdicts as the contract numbers them. */
export const VERDICT_CODES = { VALID: 1, INVALID: 2 } as const;

/** `hash('openledger/vote/1', taskId, verifier, verdict, receiptHash, salt)`. */
export function voteHash(
  taskId: number | bigint,
  verifier: Address,
  verdict: Verdict,
  verificationHash: Bytes32,
  salt: Bytes32,
): Bytes32 {
  return toHex(
    taggedHash(
      'openledger/vote/1',
      uint256(taskId),
      addressWord(verifier),
      uint256(VERDICT_CODES[verdict]),
      bytes32(verificationHash),
      bytes32(salt),
    ),
  );
}

/** What a verifier found in one assigned segment or sample. */
export type Check = {
  readonly kind: 'segment' | 'sample';
  readonly index: number;
  /** keccak256 of the bytes recomputed: the state after the segment, or the sketch. */
  readonly foundHash: Bytes32;
  readonly isEqual: boolean;
};

/** The verdict of a verifier's checks: VALID only if all bytes are equal. */
export function verdictOf(checks: readonly Check[]): Verdict {
  return checks.length > 0 && checks.every(({ isEqual }) => isEqual) ? 'VALID' : 'INVALID';
}

/**
 * The hash that a vote carries of what the verifier did:
 * `hash('openledger/verification/1', taskId, verifier, (kind, index, foundHash, isEqual)…)`.
 */
export function verificationHash(
  taskId: number | bigint,
  verifier: Address,
  checks: readonly Check[],
): Bytes32 {
  const words = checks.flatMap(({ kind, index, foundHash, isEqual }) => [
    uint256(kind === 'segment' ? 0 : 1),
    uint256(index),
    bytes32(foundHash),
    uint256(isEqual ? 1 : 0),
  ]);
  return toHex(
    taggedHash('openledger/verification/1', uint256(taskId), addressWord(verifier), ...words),
  );
}
