#!/usr/bin/env bash
# A kind cluster with Sightline in it: `make kind-up`, or manifests/clusters/kind-up.sh [--operators].
# Needs docker, kind, kubectl, helm, internet for the node's image, and the project's images (`make images`).
# --operators also installs cert-manager, the Gateway API's kinds, KServe and KubeRay, and runs ranker and captioner by them (8 GB).
set -euo pipefail

readonly KIND_VERSION=v0.32.0 # its node image is in kind.yaml
readonly CERT_MANAGER=v1.17.0
readonly GATEWAY_API=v1.5.1
readonly KSERVE=v0.20.0
readonly KUBERAY=1.7.0

readonly CLUSTER=${CLUSTER:-sightline} NAMESPACE=${NAMESPACE:-sightline} RELEASE=${RELEASE:-sightline} TIMEOUT=${TIMEOUT:-15m}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly chart=$here/../../charts/sightline
readonly context=kind-$CLUSTER

say() { printf '\n== %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
kube() { kubectl --context "$context" "$@"; }
helm_() { helm --kube-context "$context" "$@"; }

check_programs() {
  local program
  for program in docker kind kubectl helm; do
    command -v "$program" >/dev/null || die "$program is not installed"
  done
  docker info >/dev/null 2>&1 || die "docker does not answer; start it"
  [[ $(kind version -q) == "${KIND_VERSION#v}"* ]] ||
    die "kind is $(kind version -q); install $KIND_VERSION, or give kind.yaml the node image of yours"
}

make_cluster() {
  if kind get clusters 2>/dev/null | grep -qx "$CLUSTER"; then
    say "cluster $CLUSTER is there already"
  else
    say "making the cluster $CLUSTER"
    kind create cluster --name "$CLUSTER" --config "$here/kind.yaml" --wait 5m
  fi
}

load_images() {
  local version role
  version=$(sed -n 's/^appVersion: *"\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' "$chart/Chart.yaml")
  say "loading the images of version $version"
  for role in captioner transformer ranker trainer rollout items; do
    docker image inspect "sightline/$role:$version" >/dev/null 2>&1 || die "no image sightline/$role:$version; make images"
    kind load docker-image --name "$CLUSTER" "sightline/$role:$version"
  done
}

install_operators() {
  say "cert-manager $CERT_MANAGER, Gateway API $GATEWAY_API, KServe $KSERVE, KubeRay $KUBERAY"
  helm_ upgrade --install cert-manager cert-manager --repo https://charts.jetstack.io --version "$CERT_MANAGER" \
    --namespace cert-manager --create-namespace --set crds.enabled=true --wait --timeout "$TIMEOUT"
  kube apply --server-side \
    -f "https://github.com/kubernetes-sigs/gateway-api/releases/download/$GATEWAY_API/standard-install.yaml"
  helm_ upgrade --install kserve-crd oci://ghcr.io/kserve/charts/kserve-crd --version "$KSERVE" \
    --namespace kserve --create-namespace --wait --timeout "$TIMEOUT"
  # Standard mode; no Ingress and no Gateway per model: the cluster has no controller for them, and the chart needs none.
  helm_ upgrade --install kserve-resources oci://ghcr.io/kserve/charts/kserve-resources --version "$KSERVE" \
    --namespace kserve --set kserve.controller.deploymentMode=Standard \
    --set kserve.controller.gateway.disableIngressCreation=true --wait --timeout "$TIMEOUT"
  helm_ upgrade --install kuberay-operator kuberay-operator --repo https://ray-project.github.io/kuberay-helm \
    --version "$KUBERAY" --namespace kuberay --create-namespace --wait --timeout "$TIMEOUT"
}

install_sightline() {
  say "installing Sightline as $RELEASE"
  kube create namespace "$NAMESPACE" --dry-run=client -o yaml | kube apply -f -
  kube label namespace "$NAMESPACE" --overwrite pod-security.kubernetes.io/enforce=restricted
  helm_ upgrade --install "$RELEASE" "$chart" --namespace "$NAMESPACE" -f "$chart/values-kind.yaml" "$@" \
    --wait --timeout "$TIMEOUT"
}

wait_for_operators() {
  say "waiting for KServe and KubeRay"
  kube -n "$NAMESPACE" wait --for=condition=Ready inferenceservice --all --timeout "$TIMEOUT"
  kube -n "$NAMESPACE" wait --for=condition=TransformerReady inferenceservice --all --timeout "$TIMEOUT"  # Ready may leave it out
  kube -n "$NAMESPACE" wait --for=condition=Ready rayservice --all --timeout "$TIMEOUT"
}

main() {
  local operators=false
  case "${1:-}" in
  '') ;;
  --operators) operators=true ;;
  *) die "unknown argument $1; usage: kind-up.sh [--operators]" ;;
  esac
  check_programs
  make_cluster
  load_images
  if $operators; then
    install_operators
    install_sightline -f "$here/values-operators.yaml"
    wait_for_operators
  else
    install_sightline
  fi
  say "helm test"
  helm_ test "$RELEASE" --namespace "$NAMESPACE" --logs --timeout "$TIMEOUT"
  say "ready; the next commands:"
  helm_ get notes "$RELEASE" --namespace "$NAMESPACE"
}

main "$@"
