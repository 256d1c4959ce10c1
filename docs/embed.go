// Package docs is keeper's documentation, as the binary serves it. It holds no code.
package docs

import "embed"

// Pages are the pages in Markdown.
//
//go:embed *.md
var Pages embed.FS
