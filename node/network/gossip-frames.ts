// Malformed and oversized gossip frames, counted and held against who sent them. gossipsub drops
// such frames without saying whose they were.
import type { GossipSub } from '@chainsafe/libp2p-gossipsub';
import type { PeerId } from '@libp2p/interface';
import { isTooLarge } from './rpc-frame.ts';

type Frame = { subarray(): Uint8Array };

/** The methods of gossipsub's class that its published type leaves out; a test holds them. */
type Inside = {
  pipePeerReadStream(peer: PeerId, frames: AsyncIterable<Frame>): Promise<void>;
  decodeRpc(bytes: Uint8Array): unknown;
};

/** Calls `refuse` for each frame that is not a gossip message at all. */
export function watchFrames(
  gossip: GossipSub,
  refuse: (peerId: string, code: string) => void,
): void {
  const inside = gossip as unknown as Inside;
  const readStream = inside.pipePeerReadStream.bind(inside);
  const decodeRpc = inside.decodeRpc.bind(inside);
  // gossipsub takes a frame's bytes and decodes them in one synchronous step, so whoever's frame
  // was taken last is whose decoding fails.
  let sender = '';
  inside.pipePeerReadStream = (peer, frames) =>
    readStream(
      peer,
      signed(peer.toString(), frames, refuse, (peerId) => {
        sender = peerId;
      }),
    );
  inside.decodeRpc = (bytes) => {
    try {
      return decodeRpc(bytes);
    } catch (error) {
      refuse(sender, 'GOSSIP_MALFORMED');
      throw error;
    }
  };
}

async function* signed(
  peerId: string,
  frames: AsyncIterable<Frame>,
  refuse: (peerId: string, code: string) => void,
  taken: (peerId: string) => void,
): AsyncGenerator<Frame> {
  try {
    for await (const frame of frames) {
      yield {
        subarray() {
          taken(peerId);
          return frame.subarray();
        },
      };
    }
  } catch (error) {
    if (isTooLarge(error)) refuse(peerId, 'GOSSIP_FRAME_TOO_LARGE');
    throw error;
  }
}
