/** Step 5: questions from held-out sentences, answered, paid, and accounted for by receipts. */
import { randomUUID } from 'node:crypto';
import { createBm25, type Question } from '#runtime';
import { callApi } from '../../cli/session.ts';
import type { Stage } from '../stage.ts';
import type { StoryAnswer } from '../state.ts';
import { evaluationOf } from './datanet.ts';
import { ADAPTER } from './training.ts';

export type ReceiptView = {
  readonly receiptHash: string;
  readonly topContributors: readonly {
    readonly contributor: string;
    readonly amountWei: string;
    readonly sharePpm: number;
  }[];
  readonly scores: readonly {
    readonly contributor: string;
    readonly score: number;
    readonly amountWei: string;
  }[];
  readonly spans: readonly {
    readonly contributor?: string;
    readonly weight: number | string;
    readonly text: string;
  }[];
  readonly computeWei: string;
  readonly feeWei: string;
  readonly promptTokens: number;
  readonly outputTokens: number;
};

type Completion = {
  readonly choices: readonly { readonly text: string }[];
  readonly x_swarm: { readonly receipt_id: string };
};

/**
 * One question through the OpenAI endpoint of a node, as a paragraph to go on from, which is what the
 * settings of attribution were measured on; returns the answer and its receipt.
 */
export async function ask(
  api: string,
  token: string,
  prompt: string,
  outputTokens: number,
  extra: Record<string, unknown> = {},
): Promise<{ output: string; receiptId: string; receipt: ReceiptView }> {
  const reply = await callApi<Completion>(api, token, '/v1/completions', {
    body: {
      model: `base:${ADAPTER}`,
      prompt: `${prompt}\n\n`,
      max_tokens: outputTokens,
      temperature: 0,
      user: randomUUID(),
      ...extra,
    },
    timeoutMs: 120_000,
  });
  const receiptId = reply.x_swarm.receipt_id;
  const receipt = await callApi<ReceiptView>(api, token, `/swarm/v1/receipts/${receiptId}`);
  return { output: reply.choices[0]?.text ?? '', receiptId, receipt };
}

export async function answerQuestions(stage: Stage): Promise<void> {
  const { state, swarm, scenario, narrator } = stage;
  const evaluation = evaluationOf(stage);
  const corpus = evaluation.contributions.flatMap(({ package: name, records }) =>
    records.map((text) => ({ name, text })),
  );
  const bm25 = createBm25(corpus.map(({ text }) => text));
  const answered = new Set(state.state.answers.map(({ prompt }) => prompt));
  const queue = evaluation.questions.filter(({ prompt }) => !answered.has(prompt));
  const bar = narrator.progress('questions answered', evaluation.questions.length);
  const work = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const asked = await ask(
        swarm.file.gateway,
        swarm.file.token,
        next.prompt,
        scenario.outputTokens,
      );
      const entry = answerOf(next, asked, topPackage(bm25.scores(next.prompt), corpus));
      state.save({ ...state.state, answers: [...state.state.answers, entry] });
      bar.update(state.state.answers.length);
    }
  };
  await Promise.all(Array.from({ length: scenario.concurrency }, work));
  bar.end();
  showOne(stage);
}

function topPackage(scores: Float64Array, corpus: readonly { name: string }[]): string | null {
  let best = -1;
  for (let i = 0; i < scores.length; i += 1)
    if ((scores[i] ?? 0) > (best < 0 ? 0 : (scores[best] ?? 0))) best = i;
  return corpus[best]?.name ?? null;
}

function answerOf(
  question: Question,
  asked: { output: string; receiptId: string; receipt: ReceiptView },
  topBm25: string | null,
): StoryAnswer {
  const { receipt } = asked;
  const spans = new Map<string, number>();
  for (const { contributor, weight } of receipt.spans)
    if (contributor !== undefined)
      spans.set(contributor, (spans.get(contributor) ?? 0) + Number(weight));
  const learned = new Map<string, number>();
  for (const { contributor, score } of receipt.scores)
    learned.set(contributor, (learned.get(contributor) ?? 0) + score);
  return {
    package: question.package,
    prompt: question.prompt,
    receiptId: asked.receiptId,
    output: asked.output,
    topPaid: receipt.topContributors[0]?.contributor ?? null,
    topLearned: largest(learned),
    topSpan: largest(spans),
    topBm25,
  };
}

function largest(sums: ReadonlyMap<string, number>): string | null {
  const sorted = [...sums].toSorted((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  return sorted[0]?.[0] ?? null;
}

/** One answer in full, as an example: the first that pays the package its question came from. */
function showOne({ state, narrator }: Stage): void {
  const { answers, contributors } = state.state;
  const addressOf = new Map(contributors.map((each) => [each.package, each.address]));
  const shown = answers.find((each) => each.topPaid === addressOf.get(each.package)) ?? answers[0];
  if (shown === undefined) return;
  const payee = contributors.find(({ address }) => address === shown.topPaid)?.package ?? 'nobody';
  narrator.fact(`“${shown.prompt.slice(0, 100)}…”`);
  narrator.fact(
    `→ “${shown.output.trim().slice(0, 100)}”, pays ${payee} most (asked from ${shown.package})`,
  );
}
