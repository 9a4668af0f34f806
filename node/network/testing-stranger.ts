// A bare libp2p node that keeps none of our rules, for tests of what strangers may do to us.
import type { TestContext } from 'node:test';
import { gossipsub, StrictNoSign, StrictSign } from '@chainsafe/libp2p-gossipsub';
import { identify } from '@libp2p/identify';
import type { Stream } from '@libp2p/interface';
import { noise } from '@libp2p/noise';
import { ping } from '@libp2p/ping';
import { tcp } from '@libp2p/tcp';
import { yamux } from '@libp2p/yamux';
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr';
import { createLibp2p } from 'libp2p';
import type { Host } from './host.ts';
import { libp2pKey } from './key.ts';
import { addressOf, soon, testKey, until } from './testing.ts';

export async function strangerFor(t: TestContext, host: Host, signed = true, seed = 99) {
  const node = await createLibp2p({
    privateKey: libp2pKey(testKey(seed)),
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    services: {
      identify: identify(),
      ping: ping(),
      gossip: gossipsub({
        globalSignaturePolicy: signed ? StrictSign : StrictNoSign,
        allowPublishToZeroTopicPeers: true,
        scoreParams: { IPColocationFactorWeight: 0 },
      }),
    },
  });
  t.after(() => node.stop());
  await node.dial(multiaddr(addressOf(host)));
  const peerId = node.peerId.toString();
  await host.waitForPeers(1, soon());
  await until(() => host.peers().some((peer) => peer.peerId === peerId));
  return Object.assign(node, { address: (text: string): Multiaddr => multiaddr(text) });
}

/**
 * A handler that answers any request with these bytes and closes. It reads first: libp2p loses an
 * answer that comes, with its end, while the caller still negotiates the protocol.
 */
export function answerWith(bytes: Uint8Array): (stream: Stream) => void {
  return (stream) => {
    stream.addEventListener(
      'message',
      () => {
        stream.send(bytes);
        stream.close().catch(() => undefined);
      },
      { once: true },
    );
  };
}
