/**
 * All that one adapter needs to be served and to say whose data influenced an answer, fetched by
 * content and checked against the roots on chain: parameters, sketches, the datanet's records.
 */
import {
  type Address,
  type Bytes32,
  type MerkleTree,
  SKETCH_SIZE,
  sketchFromBytes,
  toHex,
} from '#crypto';
import {
  adapterHashOf,
  buildVersion,
  cidOfDigest,
  decodeResultManifest,
  decodeShard,
  decodeTaskSpec,
  decodeVersionManifest,
  hashRecord,
  type IncomingRecord,
  recordLeaves,
  type SketchLeaf,
  sketchLeaves,
  sketchTree,
  type TaskSpec,
  USUAL_OPTIONS,
  type VersionManifest,
  type VersionTree,
} from '#protocol';
import {
  type Adapter,
  appliedAlpha,
  buildTextIndex,
  type Calibration,
  calibrationFromBytes,
  layoutSize,
  loraLayout,
  type ModelConfig,
  type TextIndex,
} from '#runtime';

/** An adapter as ModelRegistry and DatanetRegistry have it. */
export type AdapterLineage = {
  readonly adapterId: Bytes32;
  readonly name: string;
  readonly owner: Address;
  readonly baseHash: Bytes32;
  readonly datanetId: Bytes32;
  readonly version: number;
  /** Digest of the training task's spec. */
  readonly spec: Bytes32;
  readonly adapterHash: Bytes32;
  readonly sketchRoot: Bytes32;
  readonly sketchCount: number;
  /** Digest of the result's manifest. */
  readonly manifest: Bytes32;
  readonly registeredAt: number;
  /** Of the datanet's version that it was trained on. */
  readonly versionRoot: Bytes32;
  readonly versionManifest: Bytes32;
};

/** Content by CID; `getLarge` is for what was stored in chunks. */
export type BlockSource = {
  readonly get: (cid: string) => Promise<Uint8Array>;
  readonly getLarge: (cid: string) => Promise<Uint8Array>;
};

export type AdapterBundle = {
  readonly lineage: AdapterLineage;
  readonly spec: TaskSpec;
  /**
   * The factors, fetched when they are first asked for and checked against their hash on chain; one
   * object for as long as the bundle lives, because the engine knows adapters by identity.
   * @throws BundleError, or what the block source throws; the next call tries again
   */
  readonly adapter: () => Promise<Adapter>;
  readonly calibration: Calibration;
  /** In version order, with the tree whose root is on chain. */
  readonly sketches: readonly SketchLeaf[];
  readonly sketchTree: MerkleTree;
  readonly version: VersionTree;
  readonly records: readonly Uint8Array[];
  readonly clusters: Int32Array;
  /** Built when it is first asked for: who only checks scores never needs it. */
  readonly text: () => TextIndex;
};

export class BundleError extends Error {
  override readonly name = 'BundleError';
  readonly code = 'BUNDLE_INVALID';
  readonly details: { readonly adapterId: Bytes32; readonly part: string };

  constructor(details: BundleError['details'], expected: string) {
    super(`adapter ${details.adapterId}, ${details.part}: expected ${expected}`);
    this.details = details;
  }
}

/**
 * Fetches and checks all of one adapter but its factors, which come when an answer needs them. Nothing that does not lead to a root on chain gets
 * in: whoever delivered it has no say.
 * @throws BundleError naming the part that does not fit, or what the block source throws.
 */
export async function loadAdapterBundle(
  blocks: BlockSource,
  lineage: AdapterLineage,
  base: ModelConfig,
): Promise<AdapterBundle> {
  const check = (holds: boolean, part: string, expected: string): void => {
    if (!holds) throw new BundleError({ adapterId: lineage.adapterId, part }, expected);
  };
  const opened: Opened = (decoded, part) => {
    if (decoded.ok) return decoded.value;
    throw new BundleError({ adapterId: lineage.adapterId, part }, 'its canonical encoding');
  };
  const block = (digest: Bytes32) => blocks.get(cidOfDigest(digest).toString());
  const [specBytes, manifestBytes, versionBytes] = await Promise.all([
    block(lineage.spec),
    block(lineage.manifest),
    block(lineage.versionManifest),
  ]);
  const spec = opened(decodeTaskSpec(specBytes), 'task spec');
  const manifest = opened(decodeResultManifest(manifestBytes), 'result manifest');
  const [sketchBytes, stored] = await Promise.all([
    blocks.getLarge(manifest.sketches.toString()),
    loadVersion(blocks, opened(decodeVersionManifest(versionBytes), 'version manifest'), opened),
  ]);
  check(stored.version.root === lineage.versionRoot, 'version root', lineage.versionRoot);
  const count = stored.records.length;
  check(sketchBytes.length === count * SKETCH_SIZE, 'sketches', `${count} sketches`);
  const sketches = sketchLeaves(
    stored.version.leaves,
    stored.records.map((_, i) => sketchAt(sketchBytes, i)),
  );
  await breathe();
  const tree = sketchTree(sketches);
  check(toHex(tree.root) === lineage.sketchRoot, 'sketch root', lineage.sketchRoot);
  const layout = loraLayout(base, spec.lora.rank);
  const length = layoutSize(layout);
  const { rankStabilised } = spec.options ?? USUAL_OPTIONS;
  const fetchAdapter = async (): Promise<Adapter> => {
    const bytes = await blocks.getLarge(manifest.adapter.toString());
    check(adapterHashOf(bytes) === lineage.adapterHash, 'parameters', lineage.adapterHash);
    check(bytes.length === 4 * length, 'parameters', `${length} numbers`);
    const alpha = appliedAlpha({ ...spec.lora, rankStabilised });
    return { rank: spec.lora.rank, alpha, parameters: floatsOf(bytes) };
  };
  const calibration = calibrationFromBytes(manifest.calibration, layout.length, SKETCH_SIZE);
  await breathe();
  return {
    lineage,
    spec,
    adapter: retried(fetchAdapter),
    calibration,
    sketches,
    sketchTree: tree,
    ...stored,
    clusters: Int32Array.from(stored.version.leaves, ({ cluster }) => cluster),
    text: once(() => buildTextIndex(stored.records)),
  };
}

type Opened = <Value>(decoded: { ok: true; value: Value } | { ok: false }, part: string) => Value;

/** A datanet's version as bytes: each record and its leaf, in version order. */
export type StoredVersion = {
  readonly version: VersionTree;
  readonly records: readonly Uint8Array[];
};

async function loadVersion(
  blocks: BlockSource,
  manifest: VersionManifest,
  opened: Opened,
): Promise<StoredVersion> {
  const incoming: IncomingRecord[] = [];
  const records: Uint8Array[] = [];
  for (const { contributor, registeredAt, shards } of manifest.contributions) {
    const encoded = await Promise.all(shards.map((cid) => blocks.get(cid.toString())));
    for (const bytes of encoded)
      for (const record of opened(decodeShard(bytes), 'shard').records) {
        incoming.push({ recordHash: hashRecord(record), contributor, registeredAt });
        records.push(record);
      }
    await breathe();
  }
  return { version: buildVersion(recordLeaves(incoming, manifest.clusters)), records };
}

// Copied into a plain array first: of a Buffer, which stores may give, slice() would be a view.
const sketchAt = (bytes: Uint8Array, index: number): Int8Array =>
  sketchFromBytes(new Uint8Array(bytes.subarray(index * SKETCH_SIZE, (index + 1) * SKETCH_SIZE)));

/** Parameters are float32, little-endian, in the order of the adapter's layout. */
function floatsOf(bytes: Uint8Array): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from({ length: bytes.length >> 2 }, (_, i) => view.getFloat32(i * 4, true));
}

function once<Value>(build: () => Value): () => Value {
  let built: { readonly value: Value } | undefined;
  return () => {
    built ??= { value: build() };
    return built.value;
  };
}

/** One attempt for all who ask meanwhile; what failed is tried again by the next. */
function retried<Value>(attempt: () => Promise<Value>): () => Promise<Value> {
  let made: Promise<Value> | undefined;
  return () => {
    if (made !== undefined) return made;
    const now = attempt();
    made = now;
    now.catch(() => {
      made = undefined;
    });
    return now;
  };
}

/** Lets waiting streams go on between two long computations. */
const breathe = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Bundles in memory; the least recently used that is not pinned makes room for the next. */
export type Bundles = {
  /** Loads at most once at a time per adapter; a failed load is tried again by the next caller. */
  readonly get: (adapterId: Bytes32) => Promise<AdapterBundle>;
  readonly resident: () => readonly Bytes32[];
};

export function openBundles(
  load: (adapterId: Bytes32) => Promise<AdapterBundle>,
  residentMax: number,
  isPinned: (adapterId: Bytes32) => boolean = () => false,
): Bundles {
  const held = new Map<Bytes32, Promise<AdapterBundle>>();
  const ready = new Set<Bytes32>();
  const forget = (adapterId: Bytes32): void => {
    held.delete(adapterId);
    ready.delete(adapterId);
  };
  return {
    get: (adapterId) => {
      const loading = held.get(adapterId) ?? load(adapterId);
      // Taken out and put back: a Map keeps the order of insertion, so the first is the oldest used.
      held.delete(adapterId);
      held.set(adapterId, loading);
      loading.then(
        () => {
          if (held.get(adapterId) === loading) ready.add(adapterId);
        },
        () => forget(adapterId),
      );
      for (const oldest of held.keys()) {
        if (held.size <= residentMax) break;
        if (oldest !== adapterId && !isPinned(oldest)) forget(oldest);
      }
      return loading;
    },
    resident: () => [...ready],
  };
}
