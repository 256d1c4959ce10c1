// Package check holds the compose file and the Helm chart against what reads them:
// compose's own loader, and Helm with the types of Kubernetes' interface.
package check
