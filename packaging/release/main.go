// Command release makes what people install: the packages, the image and what tells
// where they come from. goreleaser makes the archives, and the packages from the
// same section of .goreleaser.yaml that this reads. It runs in this folder:
//
//	go run . assets                  man pages and completions, into packaging/out
//	go run . packages [-arch amd64]  deb and rpm, into dist
//	go run . image [-push NAME]      the OCI image, into dist
//	go run . sbom BINARY FILE        what a binary is made of, as CycloneDX
//	go run . provenance              how the files of dist were made, as SLSA has it, and
//	                                 their hashes
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("want assets, packages, image, sbom or provenance")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	dist := flags.String("dist", "../../dist", "`FOLDER` for what is made")
	arches := flags.String("arch", "amd64,arm64", "architectures, by commas")
	version := flags.String("version", "", "`VERSION` of the packages, in place of the binary's")
	push := flags.String("push", "", "`NAME` in a registry, with its tag, that the image is pushed to")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	p, err := openProject(ctx, "../..", *dist)
	if err != nil {
		return err
	}
	p.version = *version
	switch args[0] {
	case "assets":
		return p.assets(ctx)
	case "packages":
		return p.packages(ctx, strings.Split(*arches, ","))
	case "image":
		return p.image(ctx, strings.Split(*arches, ","), *push)
	case "sbom":
		if flags.NArg() != 2 {
			return fmt.Errorf("sbom: want a binary and a file to write")
		}
		return p.sbom(ctx, flags.Arg(0), flags.Arg(1))
	case "provenance":
		return p.provenance()
	}
	return fmt.Errorf("unknown command %q; want assets, packages, image, sbom or provenance", args[0])
}
