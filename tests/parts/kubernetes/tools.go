//go:build tools

// The command that this module builds beside its own.
package tools

import _ "helm.sh/helm/v3/cmd/helm"
