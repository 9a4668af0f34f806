/** `openledger chat`: ask a model of the swarm; the answer comes with whose data it rests on. */
import { writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { NodeError } from '../errors.ts';
import { formatOpen } from '../units.ts';
import { callApi, callApiBytes, globals, print, readSwarm } from './session.ts';

type Completion = {
  readonly choices: readonly {
    readonly message: { readonly content: string };
    readonly logprobs: { readonly content: readonly Likely[] } | null;
  }[];
  readonly usage: { readonly prompt_tokens: number; readonly completion_tokens: number };
  readonly x_swarm: { readonly receipt_id: string; readonly [key: string]: unknown };
};

type Likely = {
  readonly token: string;
  readonly logprob: number;
  readonly top_logprobs?: readonly Likely[];
};

type ChatOptions = {
  readonly maxTokens: string;
  readonly temperature: string;
  readonly topK?: string;
  readonly topP?: string;
  readonly minP?: string;
  readonly repetitionPenalty?: string;
  readonly logprobs?: string | true;
  readonly seed: string;
  readonly receipt?: string;
};

export function chatCommand(): Command {
  return new Command('chat')
    .description('ask a model: `base` or `base:adapter`')
    .argument('<model>', 'as listed by `openledger info`')
    .argument('<prompt...>', 'the question')
    .option('--max-tokens <n>', 'length of the answer at most', '48')
    .option('--temperature <t>', '0 = greedy', '0')
    .option('--top-k <n>', 'only the n most likely tokens (the model’s default; 0 = all)')
    .option('--top-p <p>', 'only the most likely tokens that together hold p (the model’s default)')
    .option('--min-p <p>', 'only tokens at least p times as likely as the likeliest')
    .option('--repetition-penalty <r>', 'above 1: what was said becomes less likely')
    .option('--logprobs [n]', 'how likely each token was, with the n likeliest beside it (0)')
    .option('--seed <n>', 'for temperatures above 0', '1')
    .option('--receipt <file>', 'keep the receipt in this file')
    .action(chat);
}

async function chat(
  model: string,
  words: string[],
  own: ChatOptions,
  command: Command,
): Promise<void> {
  const options = globals(command);
  const swarm = readSwarm(options.dataDir);
  const reply = await callApi<Completion>(swarm.gateway, swarm.token, '/v1/chat/completions', {
    body: {
      model,
      messages: [{ role: 'user', content: words.join(' ') }],
      max_tokens: Number(own.maxTokens),
      temperature: Number(own.temperature),
      ...sampling(own),
      seed: Number(own.seed),
    },
    timeoutMs: 120_000,
  });
  const answer = reply.choices[0]?.message.content ?? '';
  const likely = reply.choices[0]?.logprobs?.content;
  const id = reply.x_swarm.receipt_id;
  const view = await callApi<ReceiptView>(swarm.gateway, swarm.token, `/swarm/v1/receipts/${id}`);
  if (own.receipt !== undefined) {
    const file = await callApiBytes(swarm.gateway, swarm.token, `/swarm/v1/receipts/${id}/file`);
    try {
      writeFileSync(own.receipt, file);
    } catch (error) {
      throw new NodeError(
        'FILE_UNREADABLE',
        { file: own.receipt, reason: error instanceof Error ? error.message : '' },
        'name a file that can be written',
      );
    }
  }
  print(
    options,
    {
      ...{ ok: true, model, answer, receiptId: id, usage: reply.usage, receipt: view },
      ...(likely === undefined ? {} : { logprobs: likely }),
    },
    `${answer}\n\n${table(likely ?? [])}${whose(view)}\nreceipt ${id}`,
  );
}

/** The settings that were given, as the endpoint calls them; it judges them. */
function sampling({ topK, topP, minP, repetitionPenalty, logprobs }: ChatOptions) {
  const given = { top_k: topK, top_p: topP, min_p: minP, repetition_penalty: repetitionPenalty };
  const numbers = Object.entries(given)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => [name, Number(value)] as const);
  const top = logprobs === undefined || logprobs === true ? 0 : Number(logprobs);
  return {
    ...Object.fromEntries(numbers),
    ...(logprobs === undefined ? {} : { logprobs: true, top_logprobs: top }),
  };
}

/** A line for each token: how likely it was, and what else was likely there. */
function table(likely: readonly Likely[]): string {
  const one = ({ token, logprob }: Likely): string =>
    `${JSON.stringify(token)} ${(100 * Math.exp(logprob)).toFixed(1)} %`;
  const lines = likely.map((each) => {
    const others = (each.top_logprobs ?? []).map(one).join(', ');
    return `${one(each)}${others === '' ? '' : `  of ${others}`}`;
  });
  return lines.length === 0 ? '' : `${lines.join('\n')}\n\n`;
}

export type ReceiptView = {
  readonly payouts?: readonly {
    readonly account: string;
    readonly amountWei: string;
    readonly kind?: string;
  }[];
  readonly [key: string]: unknown;
};

/** Whom an answer pays, one per line. */
function whose(view: ReceiptView): string {
  const payouts = view.payouts ?? [];
  if (payouts.length === 0) return 'pays no contributor: nothing passed the threshold';
  return payouts
    .map(
      ({ account, amountWei, kind }) =>
        `pays ${account}  ${formatOpen(BigInt(amountWei))} OPEN${kind === undefined ? '' : `  (${kind})`}`,
    )
    .join('\n');
}
