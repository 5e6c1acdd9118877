//go:build tools

// Package tools pins the server that this module builds.
package tools

import _ "github.com/Shopify/toxiproxy/v2/cmd/server"
