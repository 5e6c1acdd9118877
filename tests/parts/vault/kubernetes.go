//go:build minimal

// Put into Vault's own package before it is built: `minimal` leaves out the login by service accounts of Kubernetes, and with it the
// way in that pods have. It is the version that Vault asks for itself.
package builtinplugins

import kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"

func init() {
	Registry.credentialBackends["kubernetes"] = credentialBackend{Factory: kubernetes.Factory}
}
