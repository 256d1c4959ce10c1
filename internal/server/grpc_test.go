package server_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	rpc "google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/superinstance/keeper/internal/keepertest"
	"github.com/superinstance/keeper/internal/keepertest/fake"
	"github.com/superinstance/keeper/internal/policy"
	"github.com/superinstance/keeper/internal/server"
)

// bearerToken is how an agent of gRPC's shows its token.
type bearerToken string

func (b bearerToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearerToken) RequireTransportSecurity() bool { return false }

// remoteTest is a keeper in front of gRPC's own test service.
type remoteTest struct {
	*keepertest.Keeper
	t      *testing.T
	key    string
	calls  atomic.Int64 // that reached the service
	client testgrpc.TestServiceClient
	conn   *rpc.ClientConn
}

// newRemoteTest starts one. The service answers by what is in its requests, unless
// it is given.
func newRemoteTest(t *testing.T, service testgrpc.TestServiceServer, opts ...keepertest.Option) *remoteTest {
	t.Helper()
	r := &remoteTest{t: t, key: fake.NewKey("generic")}
	if service == nil {
		service = interop.NewTestServer()
	}
	check := func(ctx context.Context) error {
		r.calls.Add(1)
		md, _ := metadata.FromIncomingContext(ctx)
		if got := md.Get("authorization"); len(got) != 1 || got[0] != "Bearer "+r.key {
			return status.Error(codes.Unauthenticated, "not the credential")
		}
		return nil
	}
	s := rpc.NewServer(
		rpc.UnaryInterceptor(func(ctx context.Context, req any, _ *rpc.UnaryServerInfo, next rpc.UnaryHandler) (any, error) {
			if err := check(ctx); err != nil {
				return nil, err
			}
			return next(ctx, req)
		}),
		rpc.StreamInterceptor(func(srv any, ss rpc.ServerStream, _ *rpc.StreamServerInfo, next rpc.StreamHandler) error {
			if err := check(ss.Context()); err != nil {
				return err
			}
			return next(srv, ss)
		}),
	)
	testgrpc.RegisterTestServiceServer(s, service)
	at, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(at)
	t.Cleanup(s.Stop)
	r.Keeper = keepertest.Start(t, append(opts, keepertest.Configured(func(c *server.Config) {
		c.Providers = []policy.Provider{{Name: "acme", BaseURL: "https://grpc.acme.example"}}
		c.ProviderURLs["acme"] = "http://" + at.Addr().String()
		c.ProviderListen = map[string]string{"acme": "127.0.0.1:0"}
	}))...)
	r.Store(t, "acme", "", r.key)
	r.conn = r.dial(r.Token(t, "worker", "acme:write"))
	r.client = testgrpc.NewTestServiceClient(r.conn)
	return r
}

func (r *remoteTest) dial(token string) *rpc.ClientConn {
	r.t.Helper()
	target := strings.TrimPrefix(r.Server().ProviderURL("acme"), "http://")
	conn, err := rpc.NewClient(target, rpc.WithTransportCredentials(insecure.NewCredentials()), rpc.WithPerRPCCredentials(bearerToken(token)))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return conn
}

// wantStatus checks a refusal of keeper's.
func (r *remoteTest) wantStatus(err error, code codes.Code, says string) {
	r.t.Helper()
	got := status.Convert(err)
	r.Capture("a status", []byte(got.Message()))
	if got.Code() != code || !strings.HasPrefix(got.Message(), "keeper: ") || !strings.Contains(got.Message(), says) {
		r.t.Errorf("got %v %q, want %v and keeper's sentence with %q", got.Code(), got.Message(), code, says)
	}
}

func body(text string) *testgrpc.Payload { return &testgrpc.Payload{Body: []byte(text)} }

// TestGRPCsOwnInteropSuitePasses runs the client of gRPC's interoperability tests
// (https://github.com/grpc/grpc/blob/master/doc/interop-test-descriptions.md)
// against its server, through keeper. A case that fails ends the process.
func TestGRPCsOwnInteropSuitePasses(t *testing.T) {
	r := newRemoteTest(t, nil)
	ctx := t.Context()
	interop.DoEmptyUnaryCall(ctx, r.client)
	interop.DoLargeUnaryCall(ctx, r.client)
	interop.DoClientStreaming(ctx, r.client)
	interop.DoServerStreaming(ctx, r.client)
	interop.DoPingPong(ctx, r.client)
	interop.DoEmptyStream(ctx, r.client)
	interop.DoTimeoutOnSleepingServer(ctx, r.client)
	interop.DoCancelAfterBegin(ctx, r.client)
	interop.DoCancelAfterFirstResponse(ctx, r.client)
	interop.DoCustomMetadata(ctx, r.client)
	interop.DoStatusCodeAndMessage(ctx, r.client)
	interop.DoSpecialStatusMessage(ctx, r.client)
	interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(r.conn))
	interop.DoUnimplementedMethod(ctx, r.conn)
	compressed := rpc.UseCompressor(gzip.Name)
	interop.DoLargeUnaryCall(ctx, r.client, compressed)
	interop.DoPingPong(ctx, r.client, compressed)
}

func TestRemoteCallIsDecidedByItsHeadAndItsOutcomeTellsWhatPassed(t *testing.T) {
	r := newRemoteTest(t, nil)
	interop.DoPingPong(t.Context(), r.client)
	entry := r.AwaitAudit(t, "event=proxy.response", 1)[0]
	traffic, _ := entry.Details["traffic"].(map[string]any)
	if entry.Details["outcome"] != "complete" || traffic["messagesSent"] != 4.0 || traffic["messagesReceived"] != 4.0 {
		t.Errorf("outcome: got %v, want 4 messages each way", entry.Details)
	}
	decided := r.Audit(t, "event=proxy.request")[0].Details
	if decided["stream"] != "grpc" || decided["path"] != "/grpc.testing.TestService/FullDuplexCall" {
		t.Errorf("decision: got %v, want the method and that messages stream", decided)
	}
}

func TestSecretInARemoteCallsMessageStaysBehind(t *testing.T) {
	// Before 48 to 57 bytes stands a length that reads as a digit, before 97 to 122 a
	// letter.
	key := fake.NewKey("anthropic")
	for _, n := range []int{0, 20} {
		r := newRemoteTest(t, nil)
		r.Canary().Plant("the agent's", key)
		for name, opts := range map[string][]rpc.CallOption{"plain": nil, "gzip": {rpc.UseCompressor(gzip.Name)}} {
			before := r.calls.Load()
			_, err := r.client.UnaryCall(t.Context(), &testgrpc.SimpleRequest{Payload: body(strings.Repeat(" ", n) + key)}, opts...)
			r.wantStatus(err, codes.PermissionDenied, "anthropic")
			stream, err := r.client.FullDuplexCall(t.Context(), opts...)
			if err != nil {
				t.Fatal(err)
			}
			first := &testgrpc.StreamingOutputCallRequest{ResponseParameters: []*testgrpc.ResponseParameters{{Size: 8}}, Payload: body("clean")}
			stream.Send(first)
			if _, err := stream.Recv(); err != nil {
				t.Errorf("%s: got %v for a clean message, want its answer", name, err)
			}
			stream.Send(&testgrpc.StreamingOutputCallRequest{Payload: body(key), ResponseParameters: first.ResponseParameters})
			_, err = stream.Recv()
			r.wantStatus(err, codes.PermissionDenied, "secret in message")
			if got := r.calls.Load() - before; got > 2 {
				t.Errorf("%s: %d calls reached the service", name, got)
			}
		}
		if got := r.AwaitAudit(t, "event=scan.blocked", 4); len(got) != 4 {
			t.Errorf("got %d entries scan.blocked, want 4", len(got))
		}
		for _, e := range r.AwaitAudit(t, "event=proxy.response", 4) {
			if e.Details["code"] != "secret_in_request" || e.Details["outcome"] != "cut" {
				t.Errorf("outcome: got %v, want it cut for the secret", e.Details)
			}
		}
	}
}

// leaky answers with what it is told to.
type leaky struct {
	testgrpc.UnimplementedTestServiceServer
	answers []string
	trailer metadata.MD
	refuse  error
	begun   chan struct{}
}

func (l *leaky) StreamingOutputCall(_ *testgrpc.StreamingOutputCallRequest, stream testgrpc.TestService_StreamingOutputCallServer) error {
	for _, text := range l.answers {
		if err := stream.Send(&testgrpc.StreamingOutputCallResponse{Payload: body(text)}); err != nil {
			return err
		}
	}
	stream.SetTrailer(l.trailer)
	if l.begun != nil {
		close(l.begun)
		<-stream.Context().Done()
	}
	return l.refuse
}

func TestSecretInARemoteAnswerEndsTheCall(t *testing.T) {
	l := &leaky{}
	r := newRemoteTest(t, l)
	l.answers = []string{"clean", "and " + r.key, "after"}
	stream, err := r.client.StreamingOutputCall(t.Context(), &testgrpc.StreamingOutputCallRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := stream.Recv(); err != nil || string(got.Payload.Body) != "clean" {
		t.Errorf("got %v, %v, want the clean message", got, err)
	}
	_, err = stream.Recv()
	r.wantStatus(err, codes.Aborted, "holds a secret")
	if got := r.AwaitAudit(t, "event=proxy.response", 1)[0].Details; got["code"] != "redaction_impossible" {
		t.Errorf("outcome: got %v, want redaction_impossible", got)
	}
}

func TestSecretInARemoteAnswersTrailersIsRedacted(t *testing.T) {
	l := &leaky{}
	r := newRemoteTest(t, l)
	l.trailer, l.refuse = metadata.Pairs("x-note", "it is "+r.key), status.Error(codes.FailedPrecondition, "wrong: "+r.key)
	stream, err := r.client.StreamingOutputCall(t.Context(), &testgrpc.StreamingOutputCallRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	if got := status.Convert(err); got.Code() != codes.FailedPrecondition || got.Message() != "wrong: [REDACTED:vault:acme]" {
		t.Errorf("got %v %q, want the service's status, redacted", got.Code(), got.Message())
	}
	if got := stream.Trailer().Get("x-note"); len(got) != 1 || got[0] != "it is [REDACTED:vault:acme]" {
		t.Errorf("trailer: got %q, want it redacted", got)
	}
}

func TestRemoteCallsAreRefusedInTheirOwnShape(t *testing.T) {
	r := newRemoteTest(t, nil)
	key := fake.NewKey("github")
	r.Canary().Plant("the agent's", key)
	for name, one := range map[string]struct {
		token string
		pairs []string
		code  codes.Code
		says  string
	}{
		"no token":         {"dummy", nil, codes.Unauthenticated, "no keeper token"},
		"no scope":         {r.Token(t, "reader", "acme:read"), nil, codes.PermissionDenied, "acme:write"},
		"secret in a head": {r.Token(t, "worker", "acme:write"), []string{"x-note", key}, codes.PermissionDenied, "github-pat"},
		"secret in -bin":   {r.Token(t, "worker", "acme:write"), []string{"x-note-bin", "it is " + key}, codes.PermissionDenied, "github-pat"},
	} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), one.pairs...)
		_, err := testgrpc.NewTestServiceClient(r.dial(one.token)).EmptyCall(ctx, &testgrpc.Empty{})
		if r.wantStatus(err, one.code, one.says); t.Failed() {
			t.Logf("in the case: %s", name)
		}
	}
	if n := r.calls.Load(); n != 0 {
		t.Errorf("%d calls reached the service, want none", n)
	}
}

func TestRevokedTokenEndsItsRemoteCalls(t *testing.T) {
	l := &leaky{answers: []string{"one"}, begun: make(chan struct{})}
	r := newRemoteTest(t, l)
	stream, err := r.client.StreamingOutputCall(t.Context(), &testgrpc.StreamingOutputCallRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	<-l.begun
	if status, _ := r.Admin(t, http.MethodPost, "/auth/revoke", map[string]any{"agentId": "worker"}); status != http.StatusOK {
		t.Fatalf("revoking: got %d", status)
	}
	_, err = stream.Recv()
	r.wantStatus(err, codes.Unauthenticated, "revoked")
}

func TestRemoteServiceThatIsGoneIsUnavailable(t *testing.T) {
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead.Close()
	k := keepertest.Start(t, keepertest.Configured(func(c *server.Config) {
		c.ProviderURLs["acme"] = "http://" + dead.Addr().String()
		c.ProviderListen = map[string]string{"acme": "127.0.0.1:0"}
	}))
	k.Store(t, "acme", "", fake.NewKey("generic"))
	gone := &remoteTest{Keeper: k, t: t}
	conn := gone.dial(k.Token(t, "worker", "acme:write"))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err = testgrpc.NewTestServiceClient(conn).EmptyCall(ctx, &testgrpc.Empty{})
	gone.wantStatus(err, codes.Unavailable, "could not be reached")
}

func TestRemoteCallsThroughTheProxyAreScannedToo(t *testing.T) {
	r := newRemoteTest(t, nil)
	c := newProxied(t, r.Keeper, r.Token(t, "worker", "acme:write"))
	conn, err := rpc.NewClient("passthrough:///grpc.acme.example:443",
		rpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: c.roots})), rpc.WithNoProxy(),
		rpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			tunnel, _ := c.tunnel(t, "grpc.acme.example:443")
			return tunnel, nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := testgrpc.NewTestServiceClient(conn)
	interop.DoPingPong(t.Context(), client)
	_, err = client.UnaryCall(t.Context(), &testgrpc.SimpleRequest{Payload: body("with " + fake.NewKey("github"))})
	r.wantStatus(err, codes.PermissionDenied, "github-pat")
}
