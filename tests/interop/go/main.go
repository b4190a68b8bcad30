// SPDX-License-Identifier: Apache-2.0
// Copyright The Gantry authors

// The driver for the Go client: runs the named cases, several at once, and prints one line for each:
// "ok NAME seconds" or "FAIL NAME reason".
//
//	driver -ns ADDR -run ID -dir LOGS [-peers j4,j5,go] [-only a,b] [-threads N] [-list]
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	mathrand "math/rand"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	rocketmq "github.com/apache/rocketmq-client-go/v2"
	"github.com/apache/rocketmq-client-go/v2/consumer"
	"github.com/apache/rocketmq-client-go/v2/primitive"
	"github.com/apache/rocketmq-client-go/v2/producer"
	"github.com/apache/rocketmq-client-go/v2/rlog"
)

const (
	caseLimit = 300 * time.Second
	patience  = 3 // limits of time are those of an idle machine; on a busy one everything may take so many times as long
	queues    = 4 // of a topic that the first send creates
)

type env struct {
	ns, run, lang, dir string
	peers              []string
	mu                 sync.Mutex
	shared             rocketmq.Producer
	notes              map[string]string
}

type testCase struct {
	name     string
	run      func(*env) error
	onDemand bool
}

var instance int64

func (e *env) topic(name string) string { return e.run + "-" + e.lang + "-" + name }
func (e *env) group(name string) string { return "g-" + e.run + "-" + e.lang + "-" + name }

func (e *env) note(name, text string) {
	e.mu.Lock()
	e.notes[name] = text
	e.mu.Unlock()
}

// unique keeps clients of one process apart.
func (e *env) unique() string {
	return fmt.Sprintf("%s-%d-%d", e.lang, os.Getpid(), atomic.AddInt64(&instance, 1))
}

func failf(format string, args ...interface{}) error { return fmt.Errorf(format, args...) }

// try turns the first failed check of a case into its error.
type failure struct{ err error }

func try(body func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			f, ours := r.(failure)
			if !ours {
				panic(r)
			}
			err = f.err
		}
	}()
	body()
	return nil
}

func check(good bool, format string, args ...interface{}) {
	if !good {
		panic(failure{failf(format, args...)})
	}
}

func must(err error, what string) {
	if err != nil {
		panic(failure{failf("%s: %v", what, err)})
	}
}

func until(limit time.Duration, what string, good func() bool, state func() string) {
	limit *= patience
	end := time.Now().Add(limit)
	for !good() {
		if time.Now().After(end) {
			text := ""
			if state != nil {
				text = ": " + state()
			}
			panic(failure{failf("%s: not within %v%s", what, limit, text)})
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func noise(size int, seed int64) []byte {
	b := make([]byte, size)
	if seed == 0 {
		rand.Read(b)
	} else {
		mathrand.New(mathrand.NewSource(seed)).Read(b)
	}
	return b
}

// The same text as the Java driver's.
func repeat(size int) []byte {
	const text = "gantry and rocket "
	b := make([]byte, size)
	for i := range b {
		b[i] = text[i%len(text)]
	}
	return b
}

func (e *env) newProducer(name string, more ...producer.Option) rocketmq.Producer {
	opts := []producer.Option{
		producer.WithNameServer(primitive.NamesrvAddr{e.ns}),
		producer.WithGroupName("p-" + e.run + "-" + e.lang + "-" + name),
		producer.WithInstanceName(e.unique()),
		producer.WithSendMsgTimeout(30 * time.Second),
		// Its 3 s for a send cannot be set. Sent again after them, a message may be there twice; the case says that time ran out, and is run again.
		producer.WithRetry(0),
	}
	p, err := rocketmq.NewProducer(append(opts, more...)...)
	must(err, "new producer")
	must(p.Start(), "start of a producer")
	return p
}

func (e *env) producer() rocketmq.Producer {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.shared == nil {
		e.shared = e.newProducer("shared")
	}
	return e.shared
}

func message(topic, tag, key, body string) *primitive.Message {
	m := primitive.NewMessage(topic, []byte(body))
	if tag != "" {
		m.WithTag(tag)
	}
	return m.WithKeys([]string{key})
}

func (e *env) send(m *primitive.Message) *primitive.SendResult {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	r, err := e.producer().SendSync(ctx, m)
	must(err, "send")
	check(r.Status == primitive.SendOK, "send status %d", r.Status)
	return r
}

func (e *env) sendRange(topic, tag string, from, to int) []*primitive.SendResult {
	var all []*primitive.SendResult
	for i := from; i < to; i++ {
		all = append(all, e.send(message(topic, tag, fmt.Sprintf("k-%d", i), fmt.Sprintf("body %d", i))))
	}
	return all
}

func keys(from, to int) map[string]bool {
	s := map[string]bool{}
	for i := from; i < to; i++ {
		s[fmt.Sprintf("k-%d", i)] = true
	}
	return s
}

// seen is what consumers handled.
type seen struct {
	mu       sync.Mutex
	times    map[string]int
	messages []*primitive.MessageExt
	came     map[string]time.Time
}

func newSeen() *seen { return &seen{times: map[string]int{}, came: map[string]time.Time{}} }

func (s *seen) add(m *primitive.MessageExt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := m.GetKeys()
	s.times[key]++
	s.messages = append(s.messages, m)
	if _, had := s.came[key]; !had {
		s.came[key] = time.Now()
	}
}

func (s *seen) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.times)
}

func (s *seen) has(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.times[key] > 0
}

func (s *seen) missing(wanted map[string]bool) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for k := range wanted {
		if s.times[k] == 0 {
			out = append(out, k)
		}
	}
	sort.Strings(out)
	return out
}

func (s *seen) await(wanted map[string]bool, limit time.Duration, what string) {
	until(limit, what, func() bool { return len(s.missing(wanted)) == 0 }, func() string {
		m := s.missing(wanted)
		n := len(m)
		if n > 5 {
			m = m[:5]
		}
		return fmt.Sprintf("%d of %d missing, for example %v", n, len(wanted), m)
	})
}

// All of these, none twice, nothing else.
func (s *seen) awaitExactly(wanted map[string]bool, limit time.Duration, what string) {
	s.await(wanted, limit, what)
	time.Sleep(500 * time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, n := range s.times {
		check(wanted[k], "%s: %s was not expected", what, k)
		check(n == 1, "%s: %s was handled %d times", what, k, n)
	}
}

type handler func(ctx context.Context, m *primitive.MessageExt) consumer.ConsumeResult

func (e *env) push(group, topic, expression string, h handler, more ...consumer.Option) rocketmq.PushConsumer {
	opts := []consumer.Option{
		consumer.WithNameServer(primitive.NamesrvAddr{e.ns}),
		consumer.WithGroupName(group),
		consumer.WithInstance(e.unique()),
		consumer.WithConsumeFromWhere(consumer.ConsumeFromFirstOffset),
	}
	c, err := rocketmq.NewPushConsumer(append(opts, more...)...)
	must(err, "new consumer")
	selector := consumer.MessageSelector{Type: consumer.TAG, Expression: expression}
	must(c.Subscribe(topic, selector, func(ctx context.Context, ms ...*primitive.MessageExt) (consumer.ConsumeResult, error) {
		result := consumer.ConsumeSuccess
		for _, m := range ms {
			if r := h(ctx, m); r != consumer.ConsumeSuccess {
				result = r
			}
		}
		return result, nil
	}), "subscribe")
	// The route of a topic that was just made may be a moment away, and this client does not start without it.
	end := time.Now().Add(30 * time.Second)
	for {
		err = c.Start()
		if err == nil {
			return c
		}
		check(time.Now().Before(end) && strings.Contains(err.Error(), "route info not found"), "start of a consumer: %v", err)
		time.Sleep(100 * time.Millisecond)
		return e.push(group, topic, expression, h, more...)
	}
}

func collect(s *seen) handler {
	return func(_ context.Context, m *primitive.MessageExt) consumer.ConsumeResult {
		s.add(m)
		return consumer.ConsumeSuccess
	}
}

func (e *env) runCase(c testCase) (err error) {
	done := make(chan error, 1)
	go func() { done <- try(func() { must2(c.run(e)) }) }()
	select {
	case err = <-done:
	case <-time.After(caseLimit):
		err = errors.New("not done within " + caseLimit.String())
	}
	return err
}

func must2(err error) {
	if err != nil {
		panic(failure{err})
	}
}

func main() {
	e := &env{lang: "go", notes: map[string]string{}}
	flag.StringVar(&e.ns, "ns", "", "name server")
	flag.StringVar(&e.run, "run", "r", "prefix of all names")
	flag.StringVar(&e.dir, "dir", ".", "folder for logs and flags")
	peers := flag.String("peers", "go", "drivers of this run")
	only := flag.String("only", "", "cases to run")
	threads := flag.Int("threads", 16, "cases at once")
	list := flag.Bool("list", false, "list the cases")
	child := flag.String("child", "", "GROUP,TOPIC: be a consumer until standard input ends")
	flag.Parse()
	e.peers = strings.Split(*peers, ",")
	if *list {
		for _, c := range cases {
			fmt.Println(c.name)
		}
		return
	}
	rlog.SetLogLevel("warn")
	if err := rlog.SetOutputPath(filepath.Join(e.dir, "rocketmq.log")); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if *child != "" {
		beChild(e, *child)
		return
	}
	os.Exit(runAll(e, *only, *threads))
}

func runAll(e *env, only string, threads int) int {
	var chosen []testCase
	named := map[string]bool{}
	for _, name := range strings.Split(only, ",") {
		if name != "" {
			named[name] = true
		}
	}
	everything := len(named) == 0
	for _, c := range cases {
		if named[c.name] || (everything && !c.onDemand) {
			chosen = append(chosen, c)
			delete(named, c.name)
		}
	}
	failed := 0
	for name := range named {
		fmt.Printf("FAIL go.%s there is no such case\n", name)
		failed++
	}
	slots := make(chan bool, threads)
	var all sync.WaitGroup
	var out sync.Mutex
	for _, c := range chosen {
		all.Add(1)
		slots <- true
		go func(c testCase) {
			defer all.Done()
			start := time.Now()
			err := e.runCase(c)
			<-slots
			out.Lock()
			defer out.Unlock()
			took := time.Since(start).Seconds()
			if err != nil {
				failed++
				fmt.Printf("FAIL go.%s %s (%.1f s)\n", c.name, strings.ReplaceAll(err.Error(), "\n", " "), took)
				return
			}
			e.mu.Lock()
			note := e.notes[c.name]
			e.mu.Unlock()
			if note != "" {
				note = " (" + note + ")"
			}
			fmt.Printf("ok go.%s %.1f s%s\n", c.name, took, note)
		}(c)
	}
	all.Wait()
	if failed > 0 {
		return 1
	}
	return 0
}
