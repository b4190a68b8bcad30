// SPDX-License-Identifier: Apache-2.0
// Copyright The Gantry authors

package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/admin"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
)

const maxBody = 4 * 1024 * 1024

// What waits longest starts first.
var cases = []testCase{
	{"orderly-takeover", orderlyTakeover, false},
	{"consumer-killed", consumerKilled, false},
	{"dead-letter", deadLetter, false},
	{"retry", retry, false},
	{"delay-levels", delayLevels, false},
	{"rebalance-two", rebalanceTwo, false},
	{"push-clustered", pushClustered, false},
	{"push-broadcast", pushBroadcast, false},
	{"orderly", orderly, false},
	{"tags", tags, false},
	{"tags-not-ascii", tagsNotASCII, false},
	{"restart-continues", restartContinues, false},
	{"from-last", fromLast, false},
	{"from-timestamp", fromTimestamp, false},
	{"pull-consumer", pullConsumer, false},
	{"autocreate-first-send", autocreate, false},
	{"send-sync", sendSync, false},
	{"send-async", sendAsync, false},
	{"send-oneway", sendOneway, false},
	{"send-batch", sendBatch, false},
	{"properties-intact", propertiesIntact, false},
	{"body-sizes", bodySizes, false},
	{"too-big", tooBig, false},
	{"create-topic", createTopic, false},
	{"unknown-topic", unknownTopic, false},
	{"cross-language", crossLanguage, false},
	{"broker-killed", brokerKilled, true},
	{"two-brokers", twoBrokers, true},
}

func autocreate(e *env) error {
	topic := e.topic("autocreate")
	p := e.newProducer("autocreate")
	defer p.Shutdown()
	r, err := p.SendSync(context.Background(), message(topic, "T", "k-0", "first"))
	must(err, "first send to a topic that did not exist")
	check(r.Status == primitive.SendOK && r.QueueOffset == 0, "status %d, offset %d", r.Status, r.QueueOffset)
	check(r.MessageQueue.Topic == topic && len(r.MsgID) >= 32 && len(r.OffsetMsgID) == 32, "result %s", r)
	s := newSeen()
	c := e.push(e.group("autocreate"), topic, "*", collect(s))
	defer c.Shutdown()
	s.awaitExactly(keys(0, 1), 20*time.Second, "the message")
	return nil
}

// dense checks that the offsets of results have no gap and no double in any queue, from the given start of each.
func dense(all []*primitive.SendResult) {
	byQueue := map[int]map[int64]bool{}
	for _, r := range all {
		q := byQueue[r.MessageQueue.QueueId]
		if q == nil {
			q = map[int64]bool{}
			byQueue[r.MessageQueue.QueueId] = q
		}
		check(!q[r.QueueOffset], "offset %d of queue %d was given twice", r.QueueOffset, r.MessageQueue.QueueId)
		q[r.QueueOffset] = true
	}
	for id, q := range byQueue {
		for i := 0; i < len(q); i++ {
			check(q[int64(i)], "offset %d of queue %d is missing", i, id)
		}
	}
}

func sendSync(e *env) error {
	topic := e.topic("sync")
	sent := e.sendRange(topic, "T", 0, 100)
	dense(sent)
	s := newSeen()
	c := e.push(e.group("sync"), topic, "*", collect(s))
	defer c.Shutdown()
	s.awaitExactly(keys(0, 100), 30*time.Second, "100 messages")
	for _, m := range s.messages {
		i, _ := strconv.Atoi(m.GetKeys()[2:])
		r := sent[i]
		check(m.MsgId == r.MsgID, "id of %s: %s, sent as %s", m.GetKeys(), m.MsgId, r.MsgID)
		check(m.QueueOffset == r.QueueOffset && m.Queue.QueueId == r.MessageQueue.QueueId, "place of %s: %d/%d, sent to %d/%d",
			m.GetKeys(), m.Queue.QueueId, m.QueueOffset, r.MessageQueue.QueueId, r.QueueOffset)
		check(string(m.Body) == fmt.Sprintf("body %d", i), "body of %s: %s", m.GetKeys(), m.Body)
		check(m.OffsetMsgId == r.OffsetMsgID, "offset id of %s: %s, sent as %s", m.GetKeys(), m.OffsetMsgId, r.OffsetMsgID)
	}
	return nil
}

func sendAsync(e *env) error {
	topic := e.topic("async")
	e.send(message(topic, "T", "k-0", "0"))
	var mu sync.Mutex
	good, bad := 0, error(nil)
	for i := 1; i < 300; i++ {
		must(e.producer().SendAsync(context.Background(), func(_ context.Context, r *primitive.SendResult, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil || r.Status != primitive.SendOK {
				bad = failf("callback: %v %v", err, r)
			}
			good++
		}, message(topic, "T", fmt.Sprintf("k-%d", i), "x")), "async send")
	}
	until(20*time.Second, "299 callbacks", func() bool { mu.Lock(); defer mu.Unlock(); return good == 299 }, nil)
	if bad != nil {
		return bad
	}
	s := newSeen()
	c := e.push(e.group("async"), topic, "*", collect(s))
	defer c.Shutdown()
	s.awaitExactly(keys(0, 300), 30*time.Second, "300 messages")
	return nil
}

func sendOneway(e *env) error {
	topic := e.topic("oneway")
	e.send(message(topic, "T", "k-0", "0"))
	for i := 1; i < 50; i++ {
		must(e.producer().SendOneWay(context.Background(), message(topic, "T", fmt.Sprintf("k-%d", i), "x")), "one-way send")
	}
	s := newSeen()
	c := e.push(e.group("oneway"), topic, "*", collect(s))
	defer c.Shutdown()
	s.awaitExactly(keys(0, 50), 30*time.Second, "50 messages")
	return nil
}

func sendBatch(e *env) error {
	topic := e.topic("batch")
	e.send(message(topic, "T", "first", "first"))
	var batch []*primitive.Message
	wanted := map[string]bool{"first": true}
	for i := 0; i < 100; i++ {
		m := primitive.NewMessage(topic, noise(1+i*7, int64(i+1))).WithTag(fmt.Sprintf("tag%d", i%3)).WithKeys([]string{fmt.Sprintf("k-%d", i)})
		m.WithProperty("number", strconv.Itoa(i))
		batch = append(batch, m)
		wanted[fmt.Sprintf("k-%d", i)] = true
	}
	r, err := e.producer().SendSync(context.Background(), batch...)
	must(err, "send of a batch")
	check(r.Status == primitive.SendOK, "status %d", r.Status)
	s := newSeen()
	c := e.push(e.group("batch"), topic, "*", collect(s))
	defer c.Shutdown()
	s.awaitExactly(wanted, 30*time.Second, "the batch")
	for _, m := range s.messages {
		if m.GetKeys() == "first" {
			continue
		}
		i, _ := strconv.Atoi(m.GetKeys()[2:])
		check(bytes.Equal(m.Body, noise(1+i*7, int64(i+1))), "body of %s differs", m.GetKeys())
		check(m.GetTags() == fmt.Sprintf("tag%d", i%3), "tag of %s: %s", m.GetKeys(), m.GetTags())
		check(m.GetProperty("number") == strconv.Itoa(i), "property of %s: %s", m.GetKeys(), m.GetProperty("number"))
		check(m.QueueOffset == r.QueueOffset+int64(i), "offset of %s: %d, the batch begins at %d", m.GetKeys(), m.QueueOffset, r.QueueOffset)
	}
	return nil
}

func propertiesIntact(e *env) error {
	topic := e.topic("props")
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	m := primitive.NewMessage(topic, every).WithTag("тег-标签").WithKeys([]string{"ключ-1", "key2", "鍵3"})
	m.Flag = 0x1234567
	props := map[string]string{"plain": "value", "имя": "значение – ünïcödé 🚀", "punct": "=;,:|\"'\\{}[]<>&%$ \t/", "long": strings.Repeat("x", 8000)}
	for k, v := range props {
		m.WithProperty(k, v)
	}
	sent := e.send(m)
	s := newSeen()
	c := e.push(e.group("props"), topic, "*", collect(s))
	defer c.Shutdown()
	until(20*time.Second, "the message", func() bool { return s.count() == 1 }, nil)
	got := s.messages[0]
	check(bytes.Equal(every, got.Body), "the body differs")
	check(got.GetTags() == "тег-标签", "tag %s", got.GetTags())
	check(strings.TrimSpace(got.GetKeys()) == "ключ-1 key2 鍵3", "keys %s", got.GetKeys())
	check(got.Flag == 0x1234567, "flag %x", got.Flag)
	check(got.MsgId == sent.MsgID, "id %s, sent as %s", got.MsgId, sent.MsgID)
	check(strings.HasPrefix(got.BornHost, "127.0.0.1"), "born host %s", got.BornHost)
	for k, v := range props {
		check(got.GetProperty(k) == v, "property %s: <%s>", k, got.GetProperty(k))
	}
	return nil
}

func bodySizes(e *env) error {
	topic := e.topic("sizes")
	bodies := map[string][]byte{"one": {0}, "compressed5000": repeat(5000), "compressed1M": repeat(1200000),
		"noise1M": noise(1100000, 1), "noise4M": noise(maxBody-4096, 2)}
	for _, n := range []int{2, 255, 4095, 4096, 4097, 65535, 65536, 262144} {
		bodies[fmt.Sprintf("noise%d", n)] = noise(n, int64(n))
	}
	wanted := map[string]bool{}
	for key, body := range bodies {
		e.send(primitive.NewMessage(topic, append([]byte(nil), body...)).WithKeys([]string{key}))
		wanted[key] = true
	}
	s := newSeen()
	c := e.push(e.group("sizes"), topic, "*", collect(s))
	defer c.Shutdown()
	s.awaitExactly(wanted, 40*time.Second, "bodies")
	for _, m := range s.messages {
		check(bytes.Equal(bodies[m.GetKeys()], m.Body), "body %s differs: %d bytes", m.GetKeys(), len(m.Body))
	}
	return nil
}

func tooBig(e *env) error {
	topic := e.topic("toobig")
	e.send(message(topic, "T", "k-0", "small"))
	for _, size := range []int{maxBody + 128*1024, 2 * maxBody} {
		r, err := e.producer().SendSync(context.Background(), primitive.NewMessage(topic, noise(size, 1)).WithKeys([]string{"big"}))
		check(err != nil, "a body of %d bytes was taken: %v", size, r)
		check(err.Error() != "", "the refusal says nothing")
	}
	e.send(message(topic, "T", "k-1", "after"))
	s := newSeen()
	c := e.push(e.group("toobig"), topic, "*", collect(s))
	defer c.Shutdown()
	s.awaitExactly(keys(0, 2), 20*time.Second, "what is stored")
	return nil
}

func pushClustered(e *env) error {
	topic := e.topic("push")
	e.sendRange(topic, "T", 0, 100)
	s := newSeen()
	c := e.push(e.group("push"), topic, "*", collect(s))
	defer c.Shutdown()
	e.sendRange(topic, "T", 100, 200)
	s.awaitExactly(keys(0, 200), 30*time.Second, "one consumer")
	return nil
}

func pushBroadcast(e *env) error {
	topic := e.topic("broadcast")
	e.sendRange(topic, "T", 0, 20)
	var all []*seen
	for i := 0; i < 3; i++ {
		s := newSeen()
		all = append(all, s)
		c := e.push(e.group("broadcast"), topic, "*", collect(s), consumer.WithConsumerModel(consumer.BroadCasting))
		defer c.Shutdown()
	}
	e.sendRange(topic, "T", 20, 60)
	for i, s := range all {
		s.awaitExactly(keys(0, 60), 30*time.Second, fmt.Sprintf("broadcast consumer %d", i))
	}
	return nil
}

// union of what two consumers handled.
func both(a, b *seen, wanted map[string]bool) int {
	n := 0
	for k := range wanted {
		if !a.has(k) && !b.has(k) {
			n++
		}
	}
	return n
}

func rebalanceTwo(e *env) error {
	topic, group := e.topic("rebalance"), e.group("rebalance")
	e.sendRange(topic, "T", 0, 40)
	a, b := newSeen(), newSeen()
	ca := e.push(group, topic, "*", collect(a))
	defer ca.Shutdown()
	a.await(keys(0, 40), 20*time.Second, "the first consumer alone")
	cb := e.push(group, topic, "*", collect(b))
	joined := time.Now()
	n := 40
	// While queues change hands a message may come twice. They have when both got something of forty messages, and nothing twice.
	for settled := false; !settled; {
		check(time.Since(joined) < 60*time.Second, "the queues are not shared out within 60 s")
		aHad, bHad := a.count(), b.count()
		e.sendRange(topic, "T", n, n+40)
		until(30*time.Second, "messages while settling", func() bool { return both(a, b, keys(n, n+40)) == 0 }, nil)
		time.Sleep(500 * time.Millisecond)
		settled = a.count() > aHad && b.count() > bHad && a.count()+b.count()-aHad-bHad == 40
		n += 40
	}
	until(30*time.Second, "all messages handled", func() bool { return both(a, b, keys(0, n)) == 0 }, nil)
	// Settled: each exactly once, and both have work.
	aHad, bHad := a.count(), b.count()
	e.sendRange(topic, "T", n, n+100)
	until(30*time.Second, "messages after settling", func() bool { return both(a, b, keys(n, n+100)) == 0 }, nil)
	time.Sleep(500 * time.Millisecond)
	for k := range keys(n, n+100) {
		a.mu.Lock()
		b.mu.Lock()
		times := a.times[k] + b.times[k]
		b.mu.Unlock()
		a.mu.Unlock()
		check(times == 1, "%s was handled %d times after settling", k, times)
	}
	check(a.count() > aHad && b.count() > bHad, "one consumer got nothing: %d and %d", a.count()-aHad, b.count()-bHad)
	must(cb.Shutdown(), "shutdown of the second")
	e.sendRange(topic, "T", n+100, n+140)
	a.await(keys(n+100, n+140), 60*time.Second, "the first consumer alone again")
	return nil
}

// order checks per key that a number may come again after a rebalance but none is skipped.
type order struct {
	mu      sync.Mutex
	last    map[string]int
	holders map[string]bool
	broken  error
}

func newOrder() *order { return &order{last: map[string]int{}, holders: map[string]bool{}} }

func (o *order) handler(who string) handler {
	return func(_ context.Context, m *primitive.MessageExt) consumer.ConsumeResult {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.holders[who] = true
		key := m.GetProperty("key")
		n, _ := strconv.Atoi(m.GetProperty("number"))
		had, any := o.last[key]
		if !any {
			had = -1
		}
		if n > had+1 && o.broken == nil {
			o.broken = failf("key %s: %d came where %d was next (%s)", key, n, had+1, who)
		}
		if n > had {
			o.last[key] = n
		}
		return consumer.ConsumeSuccess
	}
}

func (o *order) await(keys, numbers int, limit time.Duration) {
	until(limit, fmt.Sprintf("%d keys with %d numbers", keys, numbers), func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.broken != nil {
			return true
		}
		for _, n := range o.last {
			if n != numbers-1 {
				return false
			}
		}
		return len(o.last) == keys
	}, func() string { o.mu.Lock(); defer o.mu.Unlock(); return fmt.Sprint(o.last) })
	o.mu.Lock()
	defer o.mu.Unlock()
	must2(o.broken)
}

func (o *order) holds(who string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.holders[who]
}

func sendOrdered(p rocketmq.Producer, topic string, keys, from, to int) {
	for n := from; n < to; n++ {
		for k := 0; k < keys; k++ {
			m := message(topic, "T", fmt.Sprintf("o-%d-%d", k, n), "x").WithShardingKey(fmt.Sprintf("key%d", k))
			m.WithProperty("key", strconv.Itoa(k))
			m.WithProperty("number", strconv.Itoa(n))
			_, err := p.SendSync(context.Background(), m)
			must(err, "ordered send")
		}
	}
}

func orderly(e *env) error {
	topic := e.topic("orderly")
	p := e.newProducer("orderly", producer.WithQueueSelector(producer.NewHashQueueSelector()))
	defer p.Shutdown()
	sendOrdered(p, topic, 8, 0, 10)
	o := newOrder()
	c := e.push(e.group("orderly"), topic, "*", o.handler("only"), consumer.WithConsumerOrder(true))
	defer c.Shutdown()
	sendOrdered(p, topic, 8, 10, 30)
	o.await(8, 30, 40*time.Second)
	return nil
}

// This client unlocks its queues only when it ends (while it runs, a queue that it gave up stays locked until the server
// forgets the lock after a minute). So the first ends in good order before the second starts, which finds the queues unlocked.
func orderlyTakeover(e *env) error {
	topic, group := e.topic("orderly2"), e.group("orderly2")
	p := e.newProducer("orderly2", producer.WithQueueSelector(producer.NewHashQueueSelector()))
	defer p.Shutdown()
	sendOrdered(p, topic, 8, 0, 5)
	o := newOrder()
	a := e.push(group, topic, "*", o.handler("a"), consumer.WithConsumerOrder(true))
	o.await(8, 5, 40*time.Second)
	sendOrdered(p, topic, 8, 5, 10)
	must(a.Shutdown(), "shutdown of the first")
	b := e.push(group, topic, "*", o.handler("b"), consumer.WithConsumerOrder(true))
	defer b.Shutdown()
	sendOrdered(p, topic, 8, 10, 15)
	o.await(8, 15, 40*time.Second)
	check(o.holds("b"), "the second consumer never got a queue")
	return nil
}

func tags(e *env) error {
	topic := e.topic("tags")
	// "Aa" and "BB" have the same hash code.
	names := []string{"TagA", "TagB", "TagC", "", "Aa", "BB", "TagD", "TagE"}
	want := map[string]map[string]bool{"TagA || TagB": {}, "Aa": {}, "TagE||TagD": {}, "*": {}, "Nothing": {}}
	for i := 0; i < 160; i++ {
		key := fmt.Sprintf("k-%d", i)
		e.send(message(topic, names[i%8], key, "x"))
		want["*"][key] = true
		switch {
		case i%8 < 2:
			want["TagA || TagB"][key] = true
		case i%8 == 4:
			want["Aa"][key] = true
		case i%8 > 5:
			want["TagE||TagD"][key] = true
		}
	}
	n := 0
	all := map[string]*seen{}
	for expression := range want {
		s := newSeen()
		all[expression] = s
		n++
		c := e.push(e.group(fmt.Sprintf("tags%d", n)), topic, expression, collect(s))
		defer c.Shutdown()
	}
	for expression, s := range all {
		s.awaitExactly(want[expression], 40*time.Second, expression)
	}
	e.send(message(topic, "Nothing", "late", "x"))
	all["Nothing"].awaitExactly(map[string]bool{"late": true}, 10*time.Second, "the one message that matches")
	return nil
}

// This client announces hash codes of bytes, not of characters. A server that trusts them finds nothing here (Apache's does);
// one that reads the expression finds all.
func tagsNotASCII(e *env) error {
	topic := e.topic("tagswide")
	wanted := map[string]bool{}
	for i, tag := range []string{"标签", "тег", "TagA", "größe"} {
		key := fmt.Sprintf("k-%d", i)
		e.send(message(topic, tag, key, "x"))
		wanted[key] = i < 2
		if i >= 2 {
			delete(wanted, key)
		}
	}
	s := newSeen()
	c := e.push(e.group("tagswide"), topic, "标签||тег", collect(s))
	defer c.Shutdown()
	s.awaitExactly(wanted, 20*time.Second, "tags outside ASCII")
	return nil
}

// A new group's retry topic is taken up only at the client's next turn, so the group is made known first.
func warm(e *env, group, topic string) {
	e.send(message(topic, "T", "w", "x"))
	s := newSeen()
	c := e.push(group, topic, "*", collect(s))
	s.await(map[string]bool{"w": true}, 30*time.Second, "a first message")
	must(c.Shutdown(), "shutdown")
}

type attempt struct {
	times int32
	at    time.Time
	topic string
}

func retry(e *env) error {
	topic, group := e.topic("retry"), e.group("retry")
	warm(e, group, topic+"-warm")
	var mu sync.Mutex
	attempts := map[string][]attempt{}
	for i := 0; i < 8; i++ {
		m := message(topic, "T", fmt.Sprintf("k-%d", i), fmt.Sprintf("body %d", i))
		m.WithProperty("failures", strconv.Itoa(i%3))
		e.send(m)
	}
	c := e.push(group, topic, "*", func(ctx context.Context, m *primitive.MessageExt) consumer.ConsumeResult {
		mu.Lock()
		defer mu.Unlock()
		attempts[m.GetKeys()] = append(attempts[m.GetKeys()], attempt{m.ReconsumeTimes, time.Now(), m.Topic})
		failures, _ := strconv.Atoi(m.GetProperty("failures"))
		if int(m.ReconsumeTimes) < failures {
			cc, _ := primitive.GetConcurrentlyCtx(ctx)
			cc.DelayLevelWhenNextConsume = 1
			return consumer.ConsumeRetryLater
		}
		return consumer.ConsumeSuccess
	})
	defer c.Shutdown()
	for i := 0; i < 8; i++ {
		key := fmt.Sprintf("k-%d", i)
		until(60*time.Second, fmt.Sprintf("%s is handled %d times", key, i%3+1),
			func() bool { mu.Lock(); defer mu.Unlock(); return len(attempts[key]) >= i%3+1 },
			func() string { mu.Lock(); defer mu.Unlock(); return fmt.Sprint(attempts[key]) })
	}
	time.Sleep(2500 * time.Millisecond)
	mu.Lock()
	defer mu.Unlock()
	for i := 0; i < 8; i++ {
		all := attempts[fmt.Sprintf("k-%d", i)]
		check(len(all) == i%3+1, "k-%d was handled %d times", i, len(all))
		for n, a := range all {
			check(int(a.times) == n, "reconsume times of attempt %d of k-%d: %d", n, i, a.times)
			check(a.topic == topic, "topic that the listener sees: %s", a.topic)
			if n > 0 {
				check(a.at.Sub(all[n-1].at) >= time.Second, "attempt %d of k-%d came after %v", n, i, a.at.Sub(all[n-1].at))
			}
		}
	}
	return nil
}

func deadLetter(e *env) error {
	topic, group := e.topic("dlq"), e.group("dlq")
	warm(e, group, topic+"-warm")
	var mu sync.Mutex
	attempts := map[string][]int32{}
	for i := 0; i < 4; i++ {
		m := message(topic, "TagD", fmt.Sprintf("k-%d", i), fmt.Sprintf("body %d", i))
		m.WithProperty("colour", "grün")
		e.send(m)
	}
	c := e.push(group, topic, "*", func(ctx context.Context, m *primitive.MessageExt) consumer.ConsumeResult {
		mu.Lock()
		defer mu.Unlock()
		attempts[m.GetKeys()] = append(attempts[m.GetKeys()], m.ReconsumeTimes)
		cc, _ := primitive.GetConcurrentlyCtx(ctx)
		cc.DelayLevelWhenNextConsume = 1
		return consumer.ConsumeRetryLater
	}, consumer.WithMaxReconsumeTimes(2))
	defer c.Shutdown()
	state := func() string { mu.Lock(); defer mu.Unlock(); return fmt.Sprint(attempts) }
	until(60*time.Second, "three attempts each", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for i := 0; i < 4; i++ {
			if len(attempts[fmt.Sprintf("k-%d", i)]) < 3 {
				return false
			}
		}
		return true
	}, state)
	s := newSeen()
	d := e.push(e.group("dlqread"), "%DLQ%"+group, "*", collect(s))
	defer d.Shutdown()
	s.awaitExactly(keys(0, 4), 40*time.Second, "the dead-letter topic")
	for i := 0; i < 4; i++ {
		mu.Lock()
		got := fmt.Sprint(attempts[fmt.Sprintf("k-%d", i)])
		mu.Unlock()
		check(got == "[0 1 2]", "attempts of k-%d: %s", i, got)
	}
	for _, m := range s.messages {
		check(string(m.Body) == "body "+m.GetKeys()[2:], "body of the dead %s: %s", m.GetKeys(), m.Body)
		check(m.GetTags() == "TagD" && m.GetProperty("colour") == "grün", "tag and property of the dead %s", m.GetKeys())
		check(m.GetProperty(primitive.PropertyRetryTopic) == topic, "where the dead %s came from: %s", m.GetKeys(), m.GetProperty(primitive.PropertyRetryTopic))
	}
	return nil
}

func delayLevels(e *env) error {
	topic := e.topic("delay")
	delays := []time.Duration{0, time.Second, 5 * time.Second, 10 * time.Second}
	e.sendRange(topic, "TagX", 0, 4)
	s := newSeen()
	c := e.push(e.group("delay"), topic, "TagD", collect(s))
	defer c.Shutdown()
	due, wanted := map[string]time.Time{}, map[string]bool{}
	for level := 0; level <= 3; level++ {
		for i := 0; i < 5; i++ {
			key := fmt.Sprintf("d-%d-%d", level, i)
			m := message(topic, "TagD", key, "x")
			if level > 0 {
				m.WithDelayTimeLevel(level)
			}
			// The server counts whole milliseconds.
			due[key] = time.Now().Truncate(time.Millisecond).Add(delays[level])
			e.send(m)
			wanted[key] = true
		}
	}
	s.awaitExactly(wanted, 60*time.Second, "delayed messages")
	for key := range wanted {
		late := s.came[key].Sub(due[key])
		check(late >= 0, "%s came %v too early", key, -late)
		check(strings.HasPrefix(key, "d-0") || late < 25*time.Second, "%s came %v late", key, late)
	}
	return nil
}

func restartContinues(e *env) error {
	topic, group := e.topic("restart"), e.group("restart")
	e.sendRange(topic, "T", 0, 50)
	s := newSeen()
	c := e.push(group, topic, "*", collect(s))
	s.awaitExactly(keys(0, 50), 30*time.Second, "before the restart")
	must(c.Shutdown(), "shutdown")
	e.sendRange(topic, "T", 50, 80)
	next := newSeen()
	c = e.push(group, topic, "*", collect(next))
	defer c.Shutdown()
	next.awaitExactly(keys(50, 80), 30*time.Second, "after the restart")
	return nil
}

// As in the Java driver: old messages may come, new ones must, once.
func fromLast(e *env) error {
	topic := e.topic("last")
	e.sendRange(topic, "T", 0, 40)
	s := newSeen()
	c := e.push(e.group("last"), topic, "*", collect(s), consumer.WithConsumeFromWhere(consumer.ConsumeFromLastOffset))
	defer c.Shutdown()
	time.Sleep(3 * time.Second)
	e.sendRange(topic, "T", 40, 80)
	s.await(keys(40, 80), 30*time.Second, "what came after the start")
	e.note("from-last", fmt.Sprintf("%d of 40 older messages came too", s.count()-40))
	return nil
}

func fromTimestamp(e *env) error {
	topic := e.topic("time")
	e.sendRange(topic, "T", 0, 40)
	time.Sleep(1200 * time.Millisecond)
	cut := time.Now().Truncate(time.Second).Add(time.Second)
	time.Sleep(time.Until(cut) + 200*time.Millisecond)
	e.sendRange(topic, "T", 40, 80)
	s := newSeen()
	c := e.push(e.group("time"), topic, "*", collect(s), consumer.WithConsumeFromWhere(consumer.ConsumeFromTimestamp),
		consumer.WithConsumeTimestamp(cut.Format("20060102150405")))
	defer c.Shutdown()
	s.await(keys(40, 80), 30*time.Second, "what is younger than the time")
	e.note("from-timestamp", fmt.Sprintf("%d of 40 older messages came too", s.count()-40))
	return nil
}

func pullConsumer(e *env) error {
	topic := e.topic("pull")
	var place *primitive.SendResult
	for i := 0; i < 40; i++ {
		place = e.send(message(topic, "T", fmt.Sprintf("k-%d", i), "x"))
	}
	c, err := rocketmq.NewPullConsumer(consumer.WithNameServer(primitive.NamesrvAddr{e.ns}), consumer.WithGroupName(e.group("pull")),
		consumer.WithInstance(e.unique()), consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset))
	must(err, "new pull consumer")
	must(c.Subscribe(topic, consumer.MessageSelector{}), "subscribe")
	must(c.Start(), "start")
	defer c.Shutdown()
	s := newSeen()
	for end := time.Now().Add(90 * time.Second); s.count() < 40 && time.Now().Before(end); {
		cr, err := c.Poll(context.Background(), time.Second)
		if err == consumer.ErrNoNewMsg {
			continue
		}
		must(err, "poll")
		for _, m := range cr.GetMsgList() {
			s.add(m)
		}
		c.ACK(context.Background(), cr, consumer.ConsumeSuccess)
	}
	s.awaitExactly(keys(0, 40), time.Second, "polled messages")
	r, err := c.PullFrom(context.Background(), place.MessageQueue, place.QueueOffset, 10)
	must(err, "pull from an offset")
	check(r.Status == primitive.PullFound, "status of a pull from an offset: %d", r.Status)
	check(r.MaxOffset == place.QueueOffset+1 && r.NextBeginOffset == place.QueueOffset+1, "max %d, next %d, last offset %d",
		r.MaxOffset, r.NextBeginOffset, place.QueueOffset)
	return nil
}

func createTopic(e *env) error {
	topic := e.topic("create")
	a, err := admin.NewAdmin(admin.WithResolver(primitive.NewPassthroughResolver([]string{e.ns})))
	must(err, "new admin")
	defer a.Close()
	// The broker's address is not asked for by this client: it is taken from the route of a topic that is there.
	other := e.send(message(e.topic("create0"), "T", "k", "x"))
	addr := brokerAddress(other)
	must(a.CreateTopic(context.Background(), admin.WithTopicCreate(topic), admin.WithBrokerAddrCreate(addr),
		admin.WithReadQueueNums(6), admin.WithWriteQueueNums(6)), "create topic")
	until(10*time.Second, "the topic is in the list", func() bool {
		list, err := a.FetchAllTopicList(context.Background())
		must(err, "topic list")
		for _, t := range list.TopicList {
			if t == topic {
				return true
			}
		}
		return false
	}, nil)
	used := map[int]bool{}
	for i := 0; i < 24; i++ {
		used[e.send(message(topic, "T", "k", "x")).MessageQueue.QueueId] = true
	}
	check(len(used) > 4, "24 sends used the queues %v of 6", used)
	must(a.DeleteTopic(context.Background(), admin.WithTopicDelete(topic), admin.WithBrokerAddrDelete(addr)), "delete topic")
	until(10*time.Second, "the topic is gone from the list", func() bool {
		list, err := a.FetchAllTopicList(context.Background())
		must(err, "topic list")
		for _, t := range list.TopicList {
			if t == topic {
				return false
			}
		}
		return true
	}, nil)
	return nil
}

// brokerAddress reads the address from an offset id: four bytes of address, four of port, eight of position.
func brokerAddress(r *primitive.SendResult) string {
	id, err := primitive.UnmarshalMsgID([]byte(r.OffsetMsgID))
	must(err, "offset id "+r.OffsetMsgID)
	return fmt.Sprintf("%s:%d", id.Addr, id.Port)
}

func unknownTopic(e *env) error {
	c, err := rocketmq.NewPushConsumer(consumer.WithNameServer(primitive.NamesrvAddr{e.ns}), consumer.WithGroupName(e.group("unknown")),
		consumer.WithInstance(e.unique()))
	must(err, "new consumer")
	must(c.Subscribe(e.topic("nosuch"), consumer.MessageSelector{}, func(context.Context, ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		return consumer.ConsumeSuccess, nil
	}), "subscribe")
	err = c.Start()
	check(err != nil, "a consumer of a topic that nobody made starts")
	return nil
}

func crossLanguage(e *env) error {
	topic := e.run + "-cross"
	wanted := map[string]bool{}
	for _, peer := range e.peers {
		for i := 0; i < 10; i++ {
			wanted[fmt.Sprintf("%s-%d", peer, i)] = true
		}
	}
	for i := 0; i < 10; i++ {
		body := repeat(6000 + i)
		if i%2 == 1 {
			body = noise(300+i, int64(i))
		}
		m := primitive.NewMessage(topic, body).WithTag("tag-go").WithKeys([]string{fmt.Sprintf("go-%d", i)})
		m.WithProperty("von", fmt.Sprintf("größe %d", i))
		e.send(m)
	}
	s := newSeen()
	c := e.push(e.group("cross"), topic, "*", collect(s))
	defer c.Shutdown()
	s.await(wanted, 60*time.Second, "messages of all clients")
	for _, m := range s.messages {
		peer, number, _ := strings.Cut(m.GetKeys(), "-")
		i, _ := strconv.Atoi(number)
		check(m.GetTags() == "tag-"+peer, "tag of %s: %s", m.GetKeys(), m.GetTags())
		check(m.GetProperty("von") == fmt.Sprintf("größe %d", i), "property of %s: %s", m.GetKeys(), m.GetProperty("von"))
		if i%2 == 0 {
			check(bytes.Equal(m.Body, repeat(6000+i)), "body of %s differs", m.GetKeys())
		} else {
			check(len(m.Body) == 300+i, "length of %s: %d", m.GetKeys(), len(m.Body))
		}
	}
	return nil
}
