/** The door of the runtime: what other folders may use. */
export {
  type Example,
  type ExampleTokenizer,
  exchangeExample,
  recordExample,
} from './attribute/examples.ts';
export {
  calibrateAdapter,
  isCalibrationOf,
  type SketchSource,
  sketchExchange,
  sketchRecords,
} from './attribute/records.ts';
export {
  type Calibration,
  calibrationBytes,
  calibrationFromBytes,
  SKETCH_SETTINGS,
  type SketchSettings,
} from './attribute/sketch.ts';
export { engineBackend } from './backend/engine-backend.ts';
export type { Backend, BackendModel } from './backend/port.ts';
export { backendSource } from './backend/training-source.ts';
export { type Dataset, readDataset } from './data/dataset.ts';
export { datasetExamples, type Examples, previewExample } from './data/examples.ts';
export { openArena } from './engine/backend.ts';
export type { ModelConfig, ModelWeights } from './engine/config.ts';
export { LORA_MODULES, type LoraModule, layoutSize, loraLayout } from './engine/config.ts';
export type { RecordGradient, TrainingRecord } from './engine/engine.ts';
export { createEngine, type Engine } from './engine/engine.ts';
export type { Adapter } from './engine/graph.ts';
export { Graph } from './engine/graph.ts';
export { buildAddon } from './engine/native.ts';
export type { WeightFormat } from './engine/resident.ts';
export { streamedScore } from './engine/streamed.ts';
export { type GgufDtype, readGgufHeader } from './gguf/reader.ts';
export { readGgufTokenizer, readGgufTokenizerConfig } from './gguf/tokenizer.ts';
export { ggufRows, openGgufModel } from './gguf/weights.ts';
export {
  adapterGguf,
  type GgufEntry,
  type GgufSource,
  ggufTokenizer,
  modelGguf,
  type TokenizerInput,
} from './gguf/writer.ts';
export { openWebgpu } from './gpu/backend.ts';
export {
  ASSISTANT,
  CHAT_TEMPLATE,
  END_OF_TEXT,
  type Merge,
  PAD,
  SPECIAL_TOKENS,
  type TokenizerFiles,
  tokenizerFiles,
  trainMerges,
  USER,
  type WeightedText,
} from './model/bpe-train.ts';
export { plainPrompt } from './model/chat.ts';
export { modelConfigJson, readModelConfig, weightShapes } from './model/config.ts';
export { loadModelDirectory, type ModelDirectory, modelFiles } from './model/directory.ts';
export { ModelError, type ModelErrorCode, type ModelErrorDetails } from './model/errors.ts';
export { modelBitsPerByte, type Score, sampleOf } from './model/evaluate.ts';
export { bitsPerByte, type KneserNey, trainKneserNey } from './model/kneser-ney.ts';
export { toBfloat16 } from './model/numbers.ts';
export {
  type AdapterBase,
  decodeAdapter,
  encodeAdapter,
  readAdapterDirectory,
  writeAdapterDirectory,
} from './model/peft.ts';
export { type PhiloxStream, philoxStream } from './model/philox.ts';
export {
  type ByteSource,
  type NamedTensor,
  readSafetensors,
  type SafetensorsFile,
  writeSafetensors,
} from './model/safetensors.ts';
export { GREEDY, type SamplingSettings, samplingSettings } from './model/sampling.ts';
export {
  type ChatMessage,
  makeTokenizer,
  type StreamDecoder,
  type Tokenizer,
} from './model/tokenizer.ts';
export { openWeights } from './model/weights.ts';
export { AdapterTiers } from './serve/adapter-tiers.ts';
export { BatchGraph, type BatchSizes } from './serve/batch-graph.ts';
export type { ServeMetrics } from './serve/metrics.ts';
export type { ServeRequest, TokenLogprob } from './serve/requests.ts';
export { ServeCore } from './serve/serve-core.ts';
export {
  type AdapterHandle,
  BATCH_SIZES,
  createServing,
  SERVE_LIMITS,
  type ServeOptions,
  type Serving,
} from './serve/serving.ts';
export { type Bm25, createBm25 } from './text/bm25.ts';
export {
  type ChunkSizes,
  chunkText,
  DOCUMENTATION_CHUNKS,
  isRecord,
  PERSONAL_CHUNKS,
  toRecordText,
} from './text/chunk.ts';
export {
  type CorpusDocument,
  type CorpusSplits,
  type DocumentKind,
  documentsOf,
  type InstalledPackage,
  listPackages,
  readCorpus,
  type Split,
  splitOf,
} from './text/corpus.ts';
export { paragraphsOf } from './text/corpus-clean.ts';
export {
  clustersOf,
  createNearCopyIndex,
  type EarliestCopy,
  earliestCopies,
  type NearCopy,
  type NearCopyIndex,
} from './text/near-copies.ts';
export {
  type Evaluation,
  type EvaluationSettings,
  nearCopiesFor,
  type PackageContribution,
  type Question,
  readEvaluation,
  STORY_EVALUATION,
} from './text/questions.ts';
export {
  type MatchedSpan,
  matchedSpans,
  SPAN_SETTINGS,
  type SpanSettings,
  spanWeight,
} from './text/spans.ts';
export { buildTextIndex, type TextIndex } from './text/suffix-array.ts';
export { openTfjs } from './tfjs/tfjs.ts';
export { bisect, type Divergence, TraceShapeError } from './trace/bisect.ts';
export { Recorder } from './trace/machine.ts';
export {
  backwardProgram,
  flatGradient,
  forwardProgram,
  scoreProgram,
  type TracedModel,
  type UpdateNumbers,
  type UpdateState,
  updateProgram,
} from './trace/passes.ts';
export type { Program } from './trace/program.ts';
export { operandBytes, resultBits, type Step } from './trace/step.ts';
export { type Opening, Trace, TraceIndexError, verifyOpening } from './trace/trace.ts';
export { createFullTrainer, type FullState, type FullTrainer } from './train/full.ts';
export {
  adapterOf,
  appliedAlpha,
  dataOrder,
  initialState,
  runSteps,
  type StepReport,
  stepsForEpochs,
  type TrainingPlan,
  trainingPlan,
} from './train/lora.ts';
export { writeMergedModel } from './train/merge.ts';
export { learningRateAt } from './train/optimizer.ts';
export {
  DEFAULT_OPTIONS,
  planFor,
  readOptions,
  type TrainingOptions,
} from './train/options.ts';
export { createPool, type Pool } from './train/pool.ts';
export {
  runTraining,
  splitRecords,
  type TrainingEvent,
  type TrainingRun,
  type TrainingSource,
} from './train/run.ts';
export { decodeState, encodeState, type TrainingState } from './train/state.ts';
