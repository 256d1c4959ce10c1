// Command fakeprovider runs the fake provider for tests in another process and
// for people. It prints its URL, serves until it is interrupted or its
// standard input ends, and takes the keys that it accepts from the environment
// (FAKE_KEY_OPENAI and so on), where other users cannot read them.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/superinstance/keeper/internal/keepertest/fake"
)

const keyPrefix = "FAKE_KEY_"

func main() {
	git := flag.String("git", "", "make a bare repository octo/hello.git in this `folder` and serve it")
	watch := flag.Bool("watch-stdin", false, "stop when standard input ends")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *git, *watch); err != nil {
		fmt.Fprintln(os.Stderr, "fakeprovider:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, git string, watch bool) error {
	if git != "" {
		files := map[string]string{"README.md": "Hello from the fake provider.\n"}
		if err := fake.MakeRepository(ctx, git, "octo/hello.git", files); err != nil {
			return err
		}
	}
	p := fake.New(fake.Config{Keys: keys(os.Environ()), GitRoot: git})
	defer p.Close()
	fmt.Println("http://" + p.Address())
	if watch {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		go func() {
			defer cancel()
			io.Copy(io.Discard, os.Stdin) // its end is all that counts
		}()
	}
	<-ctx.Done()
	return nil
}

// keys reads FAKE_KEY_<VENDOR> from an environment.
func keys(environ []string) map[string]string {
	found := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if vendor, ok := strings.CutPrefix(name, keyPrefix); ok && value != "" {
			found[strings.ReplaceAll(strings.ToLower(vendor), "_", "-")] = value
		}
	}
	return found
}
