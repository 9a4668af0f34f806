/**
 * What the gateway counts, under the names of the design (`openledger_…`, unit last, `_total` for
 * counters). Labels are bounded: codes and routes, never adapters or requests.
 */
import { Counter, Histogram, Registry } from 'prom-client';

export type Metrics = {
  readonly registry: Registry;
  readonly requestDone: (route: string, status: number, seconds: number) => void;
  readonly firstToken: (seconds: number) => void;
  readonly tokens: (promptTokens: number, outputTokens: number) => void;
  /** An attempt that failed, by code; the question may still have been answered elsewhere. */
  readonly attemptFailed: (code: string) => void;
  readonly receiptRefused: (code: string) => void;
  readonly paid: (wei: bigint) => void;
};

const SECONDS = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

export function createMetrics(registry: Registry = new Registry()): Metrics {
  const registers = [registry];
  const requests = new Counter({
    name: 'openledger_requests_total',
    help: 'Requests that ended, by route and HTTP status.',
    labelNames: ['route', 'status'],
    registers,
  });
  const latency = new Histogram({
    name: 'openledger_e2e_request_latency_seconds',
    help: 'From the request to the end of its answer.',
    buckets: SECONDS,
    registers,
  });
  const firstToken = new Histogram({
    name: 'openledger_time_to_first_token_seconds',
    help: 'From the request to the first text of its answer.',
    buckets: SECONDS,
    registers,
  });
  const promptTokens = new Counter({
    name: 'openledger_prompt_tokens_total',
    help: 'Tokens of prompts that were answered.',
    registers,
  });
  const outputTokens = new Counter({
    name: 'openledger_generation_tokens_total',
    help: 'Tokens of answers.',
    registers,
  });
  const failed = new Counter({
    name: 'openledger_attempts_failed_total',
    help: 'Attempts at providers that failed, by code.',
    labelNames: ['code'],
    registers,
  });
  const refused = new Counter({
    name: 'openledger_receipts_refused_total',
    help: 'Answers that were not paid because their receipt or text did not hold, by code.',
    labelNames: ['code'],
    registers,
  });
  const paid = new Counter({
    name: 'openledger_paid_gwei_total',
    help: 'Promised to providers with vouchers, in gwei.',
    registers,
  });
  return {
    registry,
    requestDone: (route, status, seconds) => {
      requests.inc({ route, status: String(status) });
      latency.observe(seconds);
    },
    firstToken: (seconds) => firstToken.observe(seconds),
    tokens: (prompt, output) => {
      promptTokens.inc(prompt);
      outputTokens.inc(output);
    },
    attemptFailed: (code) => failed.inc({ code }),
    receiptRefused: (code) => refused.inc({ code }),
    paid: (wei) => paid.inc(Number(wei) / 1e9),
  };
}
