// How gossipsub is set up: signatures required, peers scored on our topics, ids cheap to compare.
import { type GossipsubOpts, StrictSign } from '@chainsafe/libp2p-gossipsub';
import type { Counters } from './counters.ts';
import type { NetworkPreset } from './preset.ts';
import { GRAYLIST_SCORE } from './standing.ts';

type FastMsgId = NonNullable<GossipsubOpts['fastMsgIdFn']>;
type ScoreParams = NonNullable<Partial<GossipsubOpts>['scoreParams']>;
type TopicScore = NonNullable<ScoreParams['topics']>[string];
type Register = NonNullable<GossipsubOpts['metricsRegister']>;

/**
 * Only invalid messages (P4) and our own penalties (P5) move a score. Delivery counts stay out:
 * they punish peers of quiet topics, and reward would let a peer save up for an attack. With weight
 * -10 and the square of the count, the third refusal within seconds is past the graylist.
 */
const topicScore: TopicScore = {
  topicWeight: 1,
  timeInMeshWeight: 0,
  timeInMeshQuantum: 1_000,
  timeInMeshCap: 1,
  firstMessageDeliveriesWeight: 0,
  firstMessageDeliveriesDecay: 0.5,
  firstMessageDeliveriesCap: 1,
  meshMessageDeliveriesWeight: 0,
  meshMessageDeliveriesDecay: 0.5,
  meshMessageDeliveriesCap: 1,
  meshMessageDeliveriesThreshold: 1,
  meshMessageDeliveriesWindow: 10,
  meshMessageDeliveriesActivation: 1_000,
  meshFailurePenaltyWeight: 0,
  meshFailurePenaltyDecay: 0.5,
  invalidMessageDeliveriesWeight: -10,
  invalidMessageDeliveriesDecay: 0.9,
};

export function gossipSettings(
  preset: NetworkPreset,
  topics: readonly string[],
  counters: Counters,
  scoreOf: (peerId: string) => number,
): Partial<GossipsubOpts> {
  return {
    globalSignaturePolicy: StrictSign,
    fallbackToFloodsub: false,
    allowPublishToZeroTopicPeers: true,
    allowedTopics: [...topics],
    heartbeatInterval: preset.gossipHeartbeatMs,
    seenTTL: preset.gossipSeenTtlMs,
    fastMsgIdFn,
    scoreParams: {
      topics: Object.fromEntries(topics.map((topic) => [topic, topicScore])),
      IPColocationFactorWeight: preset.ipColocationWeight,
      appSpecificScore: scoreOf,
      appSpecificWeight: 1,
      decayInterval: 1_000,
    },
    scoreThresholds: {
      gossipThreshold: -10,
      publishThreshold: -50,
      graylistThreshold: GRAYLIST_SCORE,
      acceptPXThreshold: 100,
      opportunisticGraftThreshold: 0,
    },
    metricsRegister: refusalRegister(counters),
    metricsTopicStrToLabel: new Map(topics.map((topic) => [topic, topic])),
  };
}

/**
 * Without it every copy of a message has its signature checked again: the cache of seen ids is
 * asked only afterwards. The signature is part of the key because it covers all the rest.
 */
const fastMsgIdFn: FastMsgId = (message) => {
  const parts = [message.from, message.seqno, message.signature?.subarray(0, 32)];
  return parts.map((part) => Buffer.from(part ?? []).toString('latin1')).join('|');
};

/** gossipsub's own refusals, before any topic's judgement, by what it calls them. */
const refusalCodes: Readonly<Record<string, string>> = {
  invalid_signature: 'GOSSIP_SIGNATURE_INVALID',
  invalid_seqno: 'GOSSIP_UNSIGNED',
  invalid_peerid: 'GOSSIP_AUTHOR_INVALID',
};

/**
 * The library reports refusals only as metrics, so this is a metrics register that keeps those and
 * drops the other hundred.
 */
function refusalRegister(counters: Counters): Register {
  const silent = {
    inc: () => undefined,
    set: () => undefined,
    addCollect: () => undefined,
    startTimer: () => () => undefined,
    observe: () => undefined,
    reset: () => undefined,
  };
  const gauge = ({ name }: { name: string }) => {
    if (name === 'gossipsub_msg_received_invalid_total') {
      const inc = ({ error }: { error: string }) => {
        const code = refusalCodes[error];
        if (code !== undefined) counters.add('refused', { code });
      };
      return { ...silent, inc };
    }
    return silent;
  };
  const register = { gauge, histogram: () => silent, avgMinMax: () => silent };
  return register as unknown as Register;
}
