// The go-libp2p peer of go/main.go as a child process: one command per line in, JSON lines out.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

type Event = { readonly event: string } & Record<string, unknown>;

export type GoPeer = {
  readonly peerId: string;
  readonly address: string;
  /** Gossip it has heard so far. */
  readonly messages: readonly { readonly from: string; readonly text: string }[];
  /** Sends a command and resolves with the answer. */
  ask(command: string): Promise<Event>;
  stop(): void;
};

export async function startGoPeer(program: string, topic: string): Promise<GoPeer> {
  const child = spawn(program, [topic], { stdio: ['pipe', 'pipe', 'inherit'] });
  const messages: { from: string; text: string }[] = [];
  const waiting: { resolve: (event: Event) => void; reject: (error: Error) => void }[] = [];
  const next = () => new Promise<Event>((resolve, reject) => waiting.push({ resolve, reject }));
  child.once('exit', (code) => {
    for (const each of waiting.splice(0)) each.reject(new Error(`the Go peer ended with ${code}`));
  });
  createInterface(child.stdout).on('line', (line) => {
    const event = JSON.parse(line) as Event;
    if (event.event === 'message') {
      messages.push({ from: String(event['from']), text: String(event['text']) });
      return;
    }
    const asked = waiting.shift();
    if (event.event !== 'failed') asked?.resolve(event);
    else asked?.reject(new Error(`${event['command']}: ${event['error']}`));
  });
  const started = await next();
  return {
    peerId: String(started['peer']),
    address: String(started['address']),
    messages,
    ask(command) {
      const answer = next();
      child.stdin.write(`${command}\n`);
      return answer;
    },
    stop: () => {
      child.kill('SIGKILL');
    },
  };
}
