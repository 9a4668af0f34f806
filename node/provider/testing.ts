/**
 * A small world for the tests of serving: a tiny random model with a tokenizer of its own, a datanet
 * of real sentences, an adapter with real sketches, all of it as blocks under real roots.
 */
import {
  type Address,
  addressOfPrivateKey,
  createRandom,
  keccak256,
  SKETCH_SIZE,
  sketchBytes,
  toHex,
  utf8,
} from '#crypto';
import {
  adapterHashOf,
  adapterIdOf,
  buildVersion,
  cidOf,
  digestOfCid,
  encodeResultManifest,
  encodeShard,
  encodeTaskSpec,
  encodeVersionManifest,
  hashRecord,
  type ReceiptRules,
  recordLeaves,
  sketchLeaves,
  sketchTree,
  type TaskSpec,
} from '#protocol';
import {
  type Adapter,
  calibrateAdapter,
  calibrationBytes,
  createPool,
  createServing,
  layoutSize,
  loraLayout,
  type ModelConfig,
  makeTokenizer,
  recordExample,
  SKETCH_SETTINGS,
  sketchRecords,
  type Tokenizer,
  tokenizerFiles,
  trainMerges,
  weightShapes,
} from '#runtime';
import { type AdapterLineage, type BlockSource, loadAdapterBundle } from './bundle.ts';
import { type Engine, openEngine } from './engine.ts';

/** A private key that is a function of its name. */
export const keyOf = (name: string): Uint8Array => keccak256(utf8(`key of ${name}`));
export const addressOf = (name: string): Address => addressOfPrivateKey(keyOf(name));

export const RULES: ReceiptRules = {
  // Low enough that a tiny model's answers pay somebody.
  numerator: 1,
  denominator: 50,
  platformPpm: 100_000,
  modelOwnerPpm: 200_000,
  stakersPpm: 200_000,
  dataPpm: 500_000,
  learnedPpm: 500_000,
};

const SENTENCES: Readonly<Record<string, readonly string[]>> = {
  ada: [
    'The sluice of Harrow Weir opens at dawn and closes when the bell rings.',
    'Keepers of the weir note each level in a green ledger by the door.',
    'A heron has nested beside the lock since the flood of the third year.',
  ],
  bob: [
    'Boats may wait at the lock until the keeper rings twice for passage.',
    'The mill below the weir grinds barley on the first day of each month.',
    'Nobody may fish from the footbridge while the sluice is open.',
  ],
  cid: [
    'Letters for the island leave with the ferry at noon, weather permitting.',
    'The lighthouse keeper counts gulls in winter and ships in summer.',
    'Salt is stored in the long barn behind the chapel of the harbour.',
  ],
};

const CONFIG: ModelConfig = {
  hiddenSize: 32,
  layers: 2,
  heads: 2,
  kvHeads: 1,
  headDim: 16,
  ffnSize: 48,
  vocabSize: 320,
  contextLength: 128,
  rmsEps: 1e-5,
  ropeTheta: 10_000,
  tiedEmbeddings: true,
};
const RANK = 2;
const REGISTERED_AT = 1_700_000_000;

export type World = {
  readonly baseHash: `0x${string}`;
  readonly tokenizer: Tokenizer;
  readonly lineage: AdapterLineage;
  readonly blocks: BlockSource;
  /** One for everybody: its worker thread takes longer to start than all it has to compute. */
  readonly engine: Engine;
  readonly close: () => Promise<void>;
  readonly config: ModelConfig;
  readonly countTokens: (
    prompt: string,
    output: string,
  ) => { readonly promptTokens: number; readonly outputTokens: number };
};

/** Builds the world; takes well under a second. */
export async function makeWorld(): Promise<World> {
  const contributors = Object.entries(SENTENCES);
  const texts = contributors.flatMap(([, sentences]) => sentences);
  const tokenizer = tinyTokenizer(texts);
  const weights = randomWeights();
  const stored = new Map<string, Uint8Array>();
  const put = (bytes: Uint8Array) => {
    const cid = cidOf(bytes);
    stored.set(cid.toString(), bytes);
    return cid;
  };
  const read = async (cid: string): Promise<Uint8Array> => {
    const bytes = stored.get(cid);
    if (bytes === undefined) throw new Error(`expected a stored block, got ${cid}`);
    return bytes;
  };
  const datanetId = toHex(keccak256(utf8('datanet')));
  const baseHash = toHex(keccak256(utf8('base')));

  const version = buildVersion(
    recordLeaves(
      contributors.flatMap(([name, sentences]) =>
        sentences.map((text) => ({
          recordHash: hashRecord(utf8(text)),
          contributor: addressOf(name),
          registeredAt: REGISTERED_AT,
        })),
      ),
      texts.map((_, index) => index),
    ),
  );
  const versionManifest = encodeVersionManifest({
    datanetId,
    version: 1,
    contributions: contributors.map(([name, sentences], id) => ({
      id,
      contributor: addressOf(name),
      registeredAt: REGISTERED_AT,
      shards: [put(encodeShard({ contributor: addressOf(name), records: sentences.map(utf8) }))],
    })),
    clusters: texts.map((_, index) => index),
  });

  const spec = taskSpec(baseHash, datanetId);
  const adapter = randomAdapter();
  const pool = createPool({ weights, threads: 1, backend: 'wasm' });
  const serving = createServing({ weights, backend: 'wasm' });
  const source = {
    source: pool,
    adapter,
    records: texts.map((text) => recordExample(tokenizer, text, CONFIG.contextLength)),
    settings: { ...SKETCH_SETTINGS, seed: spec.sketchSeed },
  };
  const calibration = await calibrateAdapter(source);
  const sketches = await sketchRecords(
    source,
    calibration,
    texts.map((_, index) => index),
  );
  const adapterBytes = new Uint8Array(adapter.parameters.buffer.slice(0));
  const manifest = encodeResultManifest({
    taskId: 1,
    adapter: put(adapterBytes),
    checkpoints: [],
    calibration: calibrationBytes(calibration),
    sketches: put(Buffer.concat(sketches.map(sketchBytes))),
  });
  const tree = sketchTree(sketchLeaves(version.leaves, sketches));
  const lineage: AdapterLineage = {
    adapterId: adapterIdOf(1, adapterHashOf(adapterBytes)),
    name: 'weir',
    owner: addressOf('owner'),
    baseHash,
    datanetId,
    version: 1,
    spec: digestOfCid(put(encodeTaskSpec(spec))),
    adapterHash: adapterHashOf(adapterBytes),
    sketchRoot: toHex(tree.root),
    sketchCount: texts.length,
    manifest: digestOfCid(put(manifest)),
    registeredAt: REGISTERED_AT,
    versionRoot: version.root,
    versionManifest: digestOfCid(put(versionManifest)),
  };
  return {
    baseHash,
    tokenizer,
    lineage,
    blocks: { get: read, getLarge: read },
    engine: openEngine({ serving, pool, tokenizer, stopIds: [tokenizer.endOfText] }),
    close: async () => {
      await Promise.all([serving.close(), pool.close()]);
    },
    config: CONFIG,
    countTokens: (prompt, output) => ({
      promptTokens: tokenizer.encodePrompt(prompt).length,
      outputTokens: tokenizer.encode(output).length,
    }),
  };
}

/** The world's one adapter, as a provider loads it. */
export const loadWorldBundle = (world: World) =>
  loadAdapterBundle(world.blocks, world.lineage, world.config);

function tinyTokenizer(texts: readonly string[]): Tokenizer {
  const merges = trainMerges(
    texts.map((text) => ({ text, weight: 1 })),
    CONFIG.vocabSize,
  );
  const files = tokenizerFiles(merges, CONFIG.contextLength);
  return makeTokenizer(files.tokenizer, files.config, CONFIG.vocabSize);
}

function randomWeights() {
  const random = createRandom(keccak256(utf8('weights')), 'test');
  const tensors = new Map<string, Float32Array>();
  for (const [name, shape] of weightShapes(CONFIG)) {
    const length = shape.reduce((product, size) => product * size, 1);
    const isNorm = name.endsWith('norm.weight');
    const values = Float32Array.from({ length }, () => (random.below(2001) / 1000 - 1) * 0.35);
    tensors.set(name, isNorm ? values.fill(1) : values);
  }
  return { config: CONFIG, tensor: (name: string) => tensors.get(name)! };
}

function randomAdapter(): Adapter {
  const random = createRandom(keccak256(utf8('adapter')), 'test');
  const length = layoutSize(loraLayout(CONFIG, RANK));
  const parameters = Float32Array.from({ length }, () => (random.below(2001) / 1000 - 1) * 0.2);
  return { rank: RANK, alpha: 4, parameters };
}

function taskSpec(base: `0x${string}`, datanetId: `0x${string}`): TaskSpec {
  return {
    base,
    datanetId,
    version: 1,
    batch: 2,
    checkpointEvery: 1,
    contextLength: CONFIG.contextLength,
    lanes: 1,
    lora: { alpha: 4, rank: RANK },
    optimiser: { beta1: 0.9, beta2: 0.95, clipNorm: 1, epsilon: 1e-8, weightDecay: 0.01 },
    schedule: { floor: 0.1, kind: 'cosine', learningRate: 1e-3, warmupSteps: 0 },
    seed: 1,
    sketchSeed: 7,
    sketchSize: SKETCH_SIZE,
    steps: 1,
  };
}
