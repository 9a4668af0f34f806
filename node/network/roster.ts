// Who is connected and has said what it is. A connection counts from its identification on, because
// before that neither gossip nor the DHT knows what the peer speaks.
import type { IdentifyResult, PeerId } from '@libp2p/interface';
import type { Core, Sender } from './core.ts';
import { addressOfPeer } from './key.ts';

export type Peer = Sender & {
  /** What the peer calls its software. */
  readonly agent: string;
  readonly direction: 'inbound' | 'outbound';
};

export type Roster = {
  peers(): readonly Peer[];
  waitForPeers(count: number, signal: AbortSignal): Promise<void>;
};

export async function createRoster(core: Core): Promise<Roster> {
  const { libp2p } = core;
  const agents = new Map<string, string>();
  const add = (peer: PeerId, agent: string) => {
    const sender = senderOf(peer);
    if (sender === undefined || libp2p.getConnections(peer).length === 0) return;
    const before = agents.has(sender.peerId);
    agents.set(sender.peerId, agent);
    if (!before) core.emit({ type: 'peerConnected', peer: sender });
  };
  libp2p.addEventListener('peer:identify', ({ detail }: { detail: IdentifyResult }) => {
    add(detail.peerId, detail.agentVersion ?? '');
  });
  libp2p.addEventListener('peer:disconnect', ({ detail }) => {
    const peerId = detail.toString();
    if (agents.delete(peerId)) core.emit({ type: 'peerDisconnected', peerId });
  });
  // Peers may have come in between listening and now.
  for (const peer of libp2p.getPeers()) {
    const { metadata, protocols } = await libp2p.peerStore.get(peer);
    const agent = metadata.get('AgentVersion');
    if (protocols.length > 0) add(peer, new TextDecoder().decode(agent));
  }
  const peers = () =>
    [...agents].flatMap(([peerId, agent]) => {
      const connection = libp2p.getConnections().find((at) => at.remotePeer.toString() === peerId);
      if (connection === undefined) return [];
      return [{ peerId, address: addressOfPeer(peerId), agent, direction: connection.direction }];
    });
  return {
    peers,
    waitForPeers: (count, signal) =>
      new Promise((resolve, reject) => {
        const stop = () => {
          libp2p.removeEventListener('peer:identify', check);
          signal.removeEventListener('abort', onAbort);
          core.closing.removeEventListener('abort', onClose);
        };
        const check = () => {
          if (peers().length < count) return;
          stop();
          resolve();
        };
        const fail = (reason: unknown) => {
          stop();
          reject(reason);
        };
        const onAbort = () => fail(signal.reason);
        const onClose = () => fail(core.closing.reason);
        if (signal.aborted) return onAbort();
        libp2p.addEventListener('peer:identify', check);
        signal.addEventListener('abort', onAbort);
        core.closing.addEventListener('abort', onClose);
        check();
      }),
  };
}

/** Peers of other networks may have other keys; they have no address with us. */
function senderOf(peer: PeerId): Sender | undefined {
  const peerId = peer.toString();
  return peer.type === 'secp256k1' ? { peerId, address: addressOfPeer(peerId) } : undefined;
}
