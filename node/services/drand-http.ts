/**
 * Asks drand's HTTP servers for a round. A server is a stranger: what it says is bounded, parsed and held to the network's
 * key before anybody acts on it, and the next one is asked when it fails.
 */
import { z } from 'zod';
import { drandPoint, fromHex } from '#crypto';

/** Servers that answer for quicknet; any of them can be wrong or down, none can lie. */
export const DRAND_SERVERS: readonly string[] = [
  'https://api.drand.sh',
  'https://api2.drand.sh',
  'https://api3.drand.sh',
  'https://drand.cloudflare.com',
];

/** A round is some 300 bytes of JSON. */
const ANSWER_BYTES_MAX = 4_096;

export type DrandFault =
  | 'DRAND_UNREACHABLE'
  | 'DRAND_STATUS'
  | 'DRAND_TOO_LONG'
  | 'DRAND_MALFORMED'
  | 'DRAND_SIGNATURE_INVALID';

/** The round's signature as 128 bytes of a point, or what was wrong with each server. */
export type DrandAnswer =
  | { readonly ok: true; readonly point: Uint8Array }
  | { readonly ok: false; readonly faults: readonly { server: string; code: DrandFault }[] };

export type DrandSource = {
  readonly servers: readonly string[];
  readonly chainHash: string;
  /** Point of G2, 256 bytes, as DrandBeacon has it. */
  readonly publicKey: Uint8Array;
  /** How long one server may take for its whole answer. */
  readonly patienceMs: number;
};

const answer = z.object({
  round: z.number().int(),
  signature: z.string().regex(/^[0-9a-f]{96}$/),
});

/** Asks one server after the other until one gives what the network signed. */
export async function fetchDrandRound(
  source: DrandSource,
  round: number,
  signal: AbortSignal,
): Promise<DrandAnswer> {
  const faults: { server: string; code: DrandFault }[] = [];
  for (const server of source.servers) {
    const said = await ask(source, server, round, signal);
    if (typeof said !== 'string') return { ok: true, point: said };
    faults.push({ server, code: said });
  }
  return { ok: false, faults };
}

async function ask(
  { chainHash, publicKey, patienceMs }: DrandSource,
  server: string,
  round: number,
  signal: AbortSignal,
): Promise<Uint8Array | DrandFault> {
  const url = `${server.replace(/\/$/, '')}/${chainHash}/public/${round}`;
  let text: string | null;
  try {
    const response = await fetch(url, {
      redirect: 'error',
      signal: AbortSignal.any([signal, AbortSignal.timeout(patienceMs)]),
    });
    if (response.status !== 200) {
      await response.body?.cancel();
      return 'DRAND_STATUS';
    }
    text = await boundedText(response);
  } catch {
    signal.throwIfAborted();
    return 'DRAND_UNREACHABLE';
  }
  if (text === null) return 'DRAND_TOO_LONG';
  const parsed = answer.safeParse(jsonOf(text));
  if (!parsed.success || parsed.data.round !== round) return 'DRAND_MALFORMED';
  const point = drandPoint(publicKey, round, fromHex(`0x${parsed.data.signature}`));
  return point ?? 'DRAND_SIGNATURE_INVALID';
}

/** A body's text; null, and the rest unread, when it is longer than a round can be. */
async function boundedText(response: Response): Promise<string | null> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.length;
    if (length > ANSWER_BYTES_MAX) return null;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
