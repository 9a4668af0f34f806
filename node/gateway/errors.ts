/**
 * What the gateway tells an HTTP client when it cannot answer, in the shape OpenAI's clients read:
 * `{"error":{message,type,param,code}}`, all four keys always present.
 */

/** Status and `type` of each code; the code itself is what a client may act on. */
const KINDS = {
  invalid_request: { status: 400, type: 'invalid_request_error' },
  unsupported_parameter: { status: 400, type: 'invalid_request_error' },
  context_length_exceeded: { status: 400, type: 'invalid_request_error' },
  request_too_large: { status: 413, type: 'invalid_request_error' },
  model_not_found: { status: 404, type: 'invalid_request_error' },
  receipt_not_found: { status: 404, type: 'invalid_request_error' },
  unknown_route: { status: 404, type: 'invalid_request_error' },
  queue_full: { status: 429, type: 'rate_limit_error' },
  price_too_high: { status: 400, type: 'invalid_request_error' },
  deposit_exhausted: { status: 503, type: 'service_unavailable' },
  no_provider: { status: 503, type: 'service_unavailable' },
  providers_failed: { status: 503, type: 'service_unavailable' },
  receipt_refused: { status: 502, type: 'server_error' },
  internal_error: { status: 500, type: 'server_error' },
} as const;
export type ApiErrorCode = keyof typeof KINDS;

export type ApiErrorBody = {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string;
  };
};

/** A request that ends without an answer. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  readonly code: ApiErrorCode;
  readonly param: string | null;

  constructor(code: ApiErrorCode, message: string, param: string | null = null, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.code = code;
    this.param = param;
  }

  get status(): number {
    return KINDS[this.code].status;
  }

  body(): ApiErrorBody {
    const { code, message, param } = this;
    return { error: { message, type: KINDS[code].type, param, code } };
  }
}

/** Any failure as an ApiError; what we did not foresee is `internal_error`, without its insides. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  const { statusCode, code, message } = error as {
    statusCode?: number;
    code?: string;
    message?: string;
  };
  if (statusCode === 413 || code === 'FST_ERR_CTP_BODY_TOO_LARGE')
    return new ApiError('request_too_large', 'the request body is larger than this gateway takes');
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500)
    return new ApiError('invalid_request', message ?? 'the request could not be read');
  return new ApiError('internal_error', 'the gateway failed; its log says why', null, error);
}
