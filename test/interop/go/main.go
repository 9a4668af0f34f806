// A go-libp2p peer for the interop test: gossipsub and kad-dht over TCP, noise and yamux on
// loopback. It reads one command per line and answers with one JSON object per line.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

// The DHT's protocol id is this prefix with /kad/1.0.0.
const prefix = "/openledger"

var output sync.Mutex

func say(event string, fields map[string]any) {
	output.Lock()
	defer output.Unlock()
	fields["event"] = event
	line, err := json.Marshal(fields)
	check(err)
	fmt.Println(string(line))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type node struct {
	host  host.Host
	dht   *dht.IpfsDHT
	topic *pubsub.Topic
}

func start(ctx context.Context, topic string) *node {
	// The same kind of key as ours, so that this peer has an Ethereum address too.
	key, _, err := crypto.GenerateKeyPair(crypto.Secp256k1, -1)
	check(err)
	h, err := libp2p.New(
		libp2p.Identity(key),
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.DisableRelay(),
	)
	check(err)
	// Without an address filter, because loopback is where this test lives.
	table, err := dht.New(h, dht.ProtocolPrefix(prefix), dht.Mode(dht.ModeServer))
	check(err)
	gossip, err := pubsub.NewGossipSub(ctx, h)
	check(err)
	joined, err := gossip.Join(topic)
	check(err)
	subscription, err := joined.Subscribe()
	check(err)
	go func() {
		for {
			message, err := subscription.Next(ctx)
			check(err)
			if message.GetFrom() == h.ID() {
				continue
			}
			say("message", map[string]any{"from": message.GetFrom(), "text": string(message.Data)})
		}
	}()
	return &node{h, table, joined}
}

// run executes one command and says what came of it.
func (n *node) run(ctx context.Context, command, argument string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	switch command {
	case "connect":
		target, err := peer.AddrInfoFromString(argument)
		if err != nil {
			return err
		}
		if err := n.host.Connect(ctx, *target); err != nil {
			return err
		}
		say("connected", map[string]any{})
	case "listeners":
		say("listeners", map[string]any{"count": len(n.topic.ListPeers())})
	case "publish":
		if err := n.topic.Publish(ctx, []byte(argument)); err != nil {
			return err
		}
		say("published", map[string]any{})
	case "provide", "providers":
		content, err := cid.Decode(argument)
		if err != nil {
			return err
		}
		if command == "provide" {
			if err := n.dht.Provide(ctx, content, true); err != nil {
				return err
			}
			say("provided", map[string]any{})
			return nil
		}
		found, err := n.dht.FindProviders(ctx, content)
		if err != nil {
			return err
		}
		ids := []string{}
		for _, provider := range found {
			ids = append(ids, provider.ID.String())
		}
		say("providers", map[string]any{"peers": ids})
	case "find":
		id, err := peer.Decode(argument)
		if err != nil {
			return err
		}
		found, err := n.dht.FindPeer(ctx, id)
		if err != nil {
			return err
		}
		addresses := []string{}
		for _, address := range found.Addrs {
			addresses = append(addresses, address.String())
		}
		say("found", map[string]any{"addresses": addresses})
	default:
		return fmt.Errorf("expected a known command, got %q", command)
	}
	return nil
}

func main() {
	ctx := context.Background()
	n := start(ctx, os.Args[1])
	address := fmt.Sprintf("%s/p2p/%s", n.host.Addrs()[0], n.host.ID())
	say("ready", map[string]any{"peer": n.host.ID(), "address": address})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		command, argument, _ := strings.Cut(lines.Text(), " ")
		if err := n.run(ctx, command, argument); err != nil {
			say("failed", map[string]any{"command": command, "error": err.Error()})
		}
	}
}
