// SPDX-License-Identifier: Apache-2.0
// Copyright The Gantry authors

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

const (
	senders    = 4
	afterFlow  = 300 // messages that must be acknowledged after the server is back
	childLimit = 40 * time.Second
)

// beChild is a consumer in a process of its own, so that a case can kill it.
func beChild(e *env, what string) {
	group, topic, _ := strings.Cut(what, ",")
	if err := try(func() {
		e.push(group, topic, "*", func(_ context.Context, m *primitive.MessageExt) consumer.ConsumeResult {
			fmt.Println("got " + m.GetKeys())
			return consumer.ConsumeSuccess
		})
	}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	io.Copy(io.Discard, os.Stdin)
}

// consumerKilled: what a consumer held goes to the one that stays.
func consumerKilled(e *env) error {
	topic, group := e.topic("killed"), e.group("killed")
	e.sendRange(topic, "T", 0, 8)
	self, err := os.Executable()
	must(err, "own path")
	cmd := exec.Command(self, "-ns", e.ns, "-run", e.run, "-dir", e.dir, "-child", group+","+topic)
	in, err := cmd.StdinPipe()
	must(err, "pipe")
	defer in.Close()
	out, err := cmd.StdoutPipe()
	must(err, "pipe")
	cmd.Stderr = os.Stderr
	must(cmd.Start(), "start of the child")
	child := newSeen()
	ended := make(chan bool)
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if key := strings.TrimPrefix(lines.Text(), "got "); key != lines.Text() {
				child.mu.Lock()
				child.times[key]++
				child.mu.Unlock()
			}
		}
		close(ended)
	}()
	defer cmd.Process.Kill()
	child.await(keys(0, 8), childLimit, "the child got the first messages")
	here := newSeen()
	c := e.push(group, topic, "*", collect(here))
	defer c.Shutdown()
	n := 8
	for end := time.Now().Add(120 * time.Second); here.count() == 0; n += 4 {
		check(time.Now().Before(end), "the second consumer got nothing within two minutes")
		e.sendRange(topic, "T", n, n+4)
		time.Sleep(50 * time.Millisecond)
	}
	e.sendRange(topic, "T", n, n+60)
	must(cmd.Process.Kill(), "kill")
	killed := time.Now()
	<-ended
	cmd.Wait()
	e.sendRange(topic, "T", n+60, n+160)
	until(60*time.Second, "every message handled by one of both", func() bool { return both(child, here, keys(0, n+160)) == 0 },
		func() string { return fmt.Sprintf("%d of %d missing", both(child, here, keys(0, n+160)), n+160) })
	e.note("consumer-killed", fmt.Sprintf("taken over after %.1f s", time.Since(killed).Seconds()))
	return nil
}

// brokerKilled: the server is killed and comes back while producers send and a consumer handles.
func brokerKilled(e *env) error {
	topic := e.topic("flow")
	p := e.newProducer("flow", producer.WithRetry(0), producer.WithSendMsgTimeout(2*time.Second))
	defer p.Shutdown()
	e.send(message(topic, "T", "first", "x"))
	s := newSeen()
	c := e.push(e.group("flow"), topic, "*", collect(s))
	defer c.Shutdown()
	var mu sync.Mutex
	acked := map[string]bool{}
	var next, refused, stop int64
	var all sync.WaitGroup
	for i := 0; i < senders; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			for atomic.LoadInt64(&stop) == 0 {
				key := fmt.Sprintf("f-%d", atomic.AddInt64(&next, 1))
				ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
				r, err := p.SendSync(ctx, message(topic, "T", key, "body "+key))
				cancel()
				if err == nil && r.Status == primitive.SendOK {
					mu.Lock()
					acked[key] = true
					mu.Unlock()
					time.Sleep(2 * time.Millisecond)
				} else {
					atomic.AddInt64(&refused, 1)
					time.Sleep(50 * time.Millisecond)
				}
			}
		}()
	}
	defer atomic.StoreInt64(&stop, 1)
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(acked) }
	until(20*time.Second, "the flow starts", func() bool { return count() > 200 && s.count() > 100 },
		func() string { return fmt.Sprintf("%d sent, %d handled", count(), s.count()) })
	must(os.WriteFile(filepath.Join(e.dir, "flow.go.ready"), nil, 0o644), "flag")
	until(60*time.Second, "the server is back", func() bool {
		_, err := os.Stat(filepath.Join(e.dir, "flow.back"))
		return err == nil
	}, nil)
	before := count()
	until(60*time.Second, "sending goes on", func() bool { return count() >= before+afterFlow },
		func() string {
			return fmt.Sprintf("%d acknowledged since, %d refused", count()-before, atomic.LoadInt64(&refused))
		})
	atomic.StoreInt64(&stop, 1)
	all.Wait()
	s.await(acked, 90*time.Second, "every acknowledged message is handled")
	e.note("broker-killed", fmt.Sprintf("%d acknowledged, %d refused", count(), refused))
	check(refused > 0, "no send failed: was the server killed at all?")
	return nil
}

// twoBrokers: every broker that the name server knows takes part in a new topic.
func twoBrokers(e *env) error {
	topic := e.topic("brokers")
	names := map[string]bool{}
	for i := 0; i < 64; i++ {
		names[e.send(message(topic, "T", fmt.Sprintf("k-%d", i), "x")).MessageQueue.BrokerName] = true
	}
	wanted := os.Getenv("INTEROP_BROKERS")
	check(fmt.Sprint(len(names)) == wanted, "brokers that took messages: %v, not %s", names, wanted)
	s := newSeen()
	c := e.push(e.group("brokers"), topic, "*", collect(s))
	defer c.Shutdown()
	s.awaitExactly(keys(0, 64), 40*time.Second, fmt.Sprintf("messages of %v", names))
	e.note("two-brokers", fmt.Sprint(names))
	return nil
}
