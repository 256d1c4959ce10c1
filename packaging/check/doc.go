// Package check holds what is read by programs that are not here against what reads it
// there: the compose file by compose's own loader, the Dockerfile by BuildKit's parser,
// the Helm chart by Helm with the types of Kubernetes' interface.
package check
