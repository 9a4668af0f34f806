/** The errors of loading, writing and running model files: one class, told apart by `code`. */

/** What can be wrong with a model directory, its tokenizer or an adapter directory. */
export type ModelErrorCode =
  | 'MODEL_FILE_MISSING'
  | 'MODEL_FILE_TOO_LARGE'
  | 'MODEL_FILE_CHANGED'
  | 'CONFIG_INVALID'
  | 'GENERATION_CONFIG_INVALID'
  | 'ARCHITECTURE_UNSUPPORTED'
  | 'ACTIVATION_UNSUPPORTED'
  | 'ROPE_UNSUPPORTED'
  | 'BIAS_UNSUPPORTED'
  | 'SAFETENSORS_TRUNCATED'
  | 'SAFETENSORS_HEADER_INVALID'
  | 'SAFETENSORS_INDEX_INVALID'
  | 'GGUF_TRUNCATED'
  | 'GGUF_HEADER_INVALID'
  | 'DTYPE_UNSUPPORTED'
  | 'TENSOR_MISSING'
  | 'TENSOR_UNEXPECTED'
  | 'TENSOR_SHAPE'
  | 'TENSOR_NOT_FINITE'
  | 'TOKENIZER_INVALID'
  | 'TOKENIZER_UNSUPPORTED'
  | 'TOKEN_OUT_OF_RANGE'
  | 'CHAT_TEMPLATE_UNSUPPORTED'
  | 'CHAT_TEMPLATE_REFUSED'
  | 'ADAPTER_FORMAT_UNSUPPORTED'
  | 'ADAPTER_CONFIG_INVALID'
  | 'ADAPTER_DORA_UNSUPPORTED'
  | 'ADAPTER_BIAS_UNSUPPORTED'
  | 'ADAPTER_MODULES_TO_SAVE_UNSUPPORTED'
  | 'ADAPTER_OTHER_BASE'
  | 'ADAPTER_RANK_TOO_LARGE'
  | 'ADAPTER_MODULE_UNKNOWN'
  | 'SAMPLING_INVALID';

/** Where it went wrong; every field is optional because not every failure has a file or a key. */
export type ModelErrorDetails = {
  file?: string;
  key?: string;
  expected?: string;
  found?: string;
  /** What the reader can do about it. */
  remedy?: string;
};

/** A model file that cannot be used; the message names file, key, what was expected and found. */
export class ModelError extends Error {
  readonly code: ModelErrorCode;
  readonly details: ModelErrorDetails;

  constructor(code: ModelErrorCode, what: string, details: ModelErrorDetails = {}) {
    super(messageOf(code, what, details));
    this.name = 'ModelError';
    this.code = code;
    this.details = details;
  }
}

function messageOf(code: ModelErrorCode, what: string, details: ModelErrorDetails): string {
  const parts = [`${code}: ${what}`];
  if (details.file !== undefined) parts.push(`file ${details.file}`);
  if (details.key !== undefined) parts.push(`key ${details.key}`);
  if (details.expected !== undefined) parts.push(`expected ${details.expected}`);
  if (details.found !== undefined) parts.push(`found ${details.found}`);
  if (details.remedy !== undefined) parts.push(details.remedy);
  return parts.join('; ');
}
