//go:build !linux

package main

import "github.com/rogpeppe/go-internal/testscript"

func attack() {}

func inside() {}

func outsideTargets(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Fatalf("isolation needs Linux")
}

func asUser(ts *testscript.TestScript, _ bool, _ []string) { ts.Fatalf("isolation needs Linux") }
