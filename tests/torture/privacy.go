package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/wisepops-connect/wisepops-connect/sandbox"
	"github.com/wisepops-connect/wisepops-connect/tests/freeport"
)

const (
	privacyBudget = 150 // calls in a window

	// desks is how many requests are brought at a time.
	desks = 6
)

// request is one that somebody's data be deleted.
type request struct {
	id    string
	email string // as the service knows them
	phone string
	valid bool
	body  obj
}

// register holds the requests, and what came of them.
type register struct {
	mu       sync.Mutex
	receipts map[string]receipt
	reasons  map[string]string
}

// receipt is what the processor makes of a request.
type receipt struct {
	EmailHMAC *string `json:"email_hmac"`
	PhoneHMAC *string `json:"phone_hmac"`
	Status    string  `json:"status"`
}

// record is a message as the sink gets it.
type record struct {
	Request string   `json:"request"`
	Receipt *receipt `json:"receipt"`
	Reason  *string  `json:"reason"`
}

// torturePrivacy carries deletion requests, brought by a client that brings each again
// until it is answered, to the API, and a receipt or a reason to the sink.
func torturePrivacy(w *world) {
	rng := w.rng("privacy")
	w.serve(sandbox.Options{Seed: w.seed, Contacts: 3000, Switches: sandbox.Switches{Anonymous: -1}})
	// The state holds nothing but the ledger, which may not forget.
	if err := w.useState(false); err != nil {
		w.problem("making the state: %v", err)
		return
	}
	address, err := freeport.Address(w.ctx)
	if err != nil {
		w.problem("finding an address: %v", err)
		return
	}
	past := w.api.Contacts()
	requests := w.drawRequests(past)
	w.describe("%d requests", len(requests))

	reg := &register{receipts: map[string]receipt{}, reasons: map[string]string{}}
	w.sink.identify = func(_ string, line []byte) (string, bool) {
		var r record
		err := json.Unmarshal(line, &r)
		return r.Request, err == nil && r.Request != ""
	}
	w.sink.arrived = func(_ string, line []byte) { reg.enter(line) }
	threads := 1 + rng.IntN(4)
	conf := func(run int) obj {
		c := w.pipeline(
			obj{"http_server": obj{"address": address, "path": "/requests", "timeout": "20s"}},
			w.sink.output("/answers", run, 4),
			privacyBudget,
			obj{"mapping": "meta request = this.id\nroot = this"},
			obj{"wisepops_privacy_delete": obj{
				"api_key":     apiKey,
				"base_url":    w.api.url,
				"timeout":     "2s",
				"backoff":     obj{"initial_interval": "20ms", "max_interval": "200ms"},
				"rate_limit":  "budget_privacy",
				"receipt_key": receiptKey,
			}},
			obj{"mapping": "root.request = @request\n" +
				"root.receipt = if errored() { null } else { this }\n" +
				"root.reason = if errored() { error() } else { null }"},
		)
		c["pipeline"].(obj)["threads"] = threads
		return c
	}

	p := newPosts()
	bring := &bringer{w: w, url: "http://" + address + "/requests", posts: p}
	ctx, stop := w.faultsFor()
	brought := make(chan struct{})
	go func() {
		defer close(brought)
		bring.all(w.ctx, requests, w.length/time.Duration(len(requests)), "")
	}()
	wait := w.during(ctx,
		w.nemesis.apiFaults(often),
		w.nemesis.sinkFaults(often),
		w.nemesis.stateFaults(seldom),
		func(ctx context.Context) { w.api.Visit(ctx, 10) },
		func(ctx context.Context) { w.nemesis.reap(ctx, conf) },
	)
	wait()
	stop()

	run := int(w.runs.Add(1))
	last, err := w.start(conf(run))
	if err != nil {
		w.problem("starting the binary: %v", err)
		return
	}
	w.await("all requests to be answered", func() bool {
		select {
		case <-brought:
			return true
		default:
			return false
		}
	})
	// What failed since the API did is brought again, as an operator would.
	var failed []request
	for _, r := range requests {
		if r.valid && !reg.deleted(r.id) {
			failed = append(failed, r)
		}
	}
	bring.all(w.ctx, failed, 0, "+")
	last.launches()
	if last.terminate(endBound) && last.code != 0 {
		w.problem("the last run: exit code %d:\n%s", last.code, last.output.tail())
	}
	w.sink.endOf(run, ended)
	w.sink.settle(w)

	w.auditPosts(p, desks)
	w.auditRequests(requests, past, reg)
	w.auditCalls(privacyBudget)
	w.res.count(&w.res.epochs)
}

// drawRequests makes requests about some of the contacts, about strangers, and some
// that cannot be read.
func (w *world) drawRequests(contacts []sandbox.Contact) []request {
	rng := w.rng("requests")
	n := max(10, int(8*w.length.Seconds()))
	requests := make([]request, 0, n)
	for i, k := range rng.Perm(len(contacts))[:n] {
		c := contacts[k]
		r := request{id: fmt.Sprintf("r%d", i), valid: true, body: obj{}}
		switch rng.IntN(10) {
		case 0: // a stranger
			r.email = fmt.Sprintf("nobody%d@example.net", i)
		case 1:
			r.valid = false
			r.body = pick(rng, obj{}, obj{"email": "nobody"}, obj{"phone": "call me"}, obj{"email": c.Email, "phone": "12"})
		case 2, 3:
			r.email, r.phone = c.Email, c.Phone
		case 4:
			if r.phone = c.Phone; r.phone == "" {
				r.email = c.Email
			}
		default:
			r.email = c.Email
		}
		if r.email != "" {
			r.body["email"] = pick(rng, r.email, " "+r.email+"\t", strings.ToUpper(r.email), "mailto:"+r.email)
		}
		if r.phone != "" {
			r.body["phone"] = pick(rng, r.phone, "00"+r.phone[1:], r.phone[:3]+" "+r.phone[3:])
		}
		requests = append(requests, r)
	}
	return requests
}

// enter takes note of what the sink got.
func (g *register) enter(line []byte) {
	var r record
	if json.Unmarshal(line, &r) != nil {
		return // counted as foreign by the sink
	}
	id := strings.TrimSuffix(r.Request, "+")
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.Receipt != nil {
		g.receipts[id] = *r.Receipt
	}
	if r.Reason != nil {
		g.reasons[id] = *r.Reason
	}
}

func (g *register) deleted(id string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.receipts[id]
	return ok
}

// bringer brings each request until it is answered with 200.
type bringer struct {
	w     *world
	url   string
	posts *posts
}

// all brings requests, one each interval, and returns when all were answered.
func (b *bringer) all(ctx context.Context, requests []request, interval time.Duration, mark string) {
	client := &http.Client{Timeout: 25 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: desks}}
	defer client.CloseIdleConnections()
	queue := make(chan request)
	var open sync.WaitGroup
	for desk := range desks {
		rng := b.w.rng(fmt.Sprintf("desk %d%s", desk, mark))
		open.Go(func() {
			for r := range queue {
				for again := true; again; {
					again = !b.bring(ctx, client, r, mark) && pause(ctx, between(rng, 20*time.Millisecond, 300*time.Millisecond))
				}
			}
		})
	}
	for _, r := range requests {
		if !pause(ctx, interval) {
			break
		}
		queue <- r
	}
	close(queue)
	open.Wait()
}

func (b *bringer) bring(ctx context.Context, client *http.Client, r request, mark string) (answered bool) {
	body := obj{"id": r.id + mark}
	maps.Copy(body, r.body)
	data, err := json.Marshal(body)
	if err != nil {
		b.w.problem("writing a request: %v", err)
		return true
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url, bytes.NewReader(data))
	if err != nil {
		b.w.problem("making a request: %v", err)
		return true
	}
	// net/http sends a request again by itself only where it may; this one it may not.
	b.posts.add(r.id+mark, 1)
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode == http.StatusOK
}

// auditRequests demands a receipt for each request that can be read and a reason for
// each other one, that whom they were about is gone for good, and that nobody else is.
func (w *world) auditRequests(requests []request, past []sandbox.Contact, reg *register) {
	reg.mu.Lock()
	defer reg.mu.Unlock()
	emails, phones := map[string]bool{}, map[string]bool{}
	for _, r := range requests {
		got, done := reg.receipts[r.id]
		reason, failed := reg.reasons[r.id]
		switch {
		case r.valid && !done:
			w.problem("request %s has no receipt, and the reason %q", r.id, reason)
		case r.valid && (!hashOf(got.EmailHMAC, strings.ToLower(r.email)) || !hashOf(got.PhoneHMAC, r.phone)):
			w.problem("the receipt of request %s is somebody else's", r.id)
		case !r.valid && (done || !failed || reason == ""):
			w.problem("request %s cannot be read, and has a receipt, or no reason", r.id)
		}
		if strings.Contains(reason, "@") {
			w.problem("the reason of request %s quotes it", r.id)
		}
		if r.valid {
			emails[strings.ToLower(r.email)], phones[r.phone] = true, true
		}
	}
	delete(emails, "")
	delete(phones, "")
	about := func(c sandbox.Contact) bool {
		return emails[strings.ToLower(c.Email)] || c.Phone != "" && phones[c.Phone]
	}
	left := map[string]bool{}
	for _, c := range w.api.Contacts() {
		left[c.Email] = true
		if about(c) {
			w.problem("somebody who asked for it was not deleted")
		}
	}
	for _, c := range past {
		if !about(c) && !left[c.Email] {
			w.problem("somebody who did not ask for it was deleted")
		}
	}
	before := w.api.Len()
	for email := range emails {
		w.api.Add(sandbox.Contact{Email: email})
	}
	if more := w.api.Len() - before; more > 0 {
		w.problem("%d people were deleted, and not suppressed", more)
	}
}

// hashOf reports whether a hash is that of a value, or nothing of nothing.
func hashOf(hash *string, value string) bool {
	if hash == nil || value == "" {
		return hash == nil && value == ""
	}
	mac := hmac.New(sha256.New, []byte(receiptKey))
	mac.Write([]byte(value))
	return *hash == hex.EncodeToString(mac.Sum(nil))
}
