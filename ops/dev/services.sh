#!/usr/bin/env bash
# Installs what the tests need beside Python: the Kafka jars and Apicurio Registry by Maven, Redis, Prometheus and Chromium as Debian packages,
# Helm by Go.
# What is missing and cannot be installed is named with the one command to run; the tests then skip with the reason.
set -u
cd "$(dirname "$0")/../.." || exit 1

missing=()
command -v redis-server >/dev/null || missing+=(redis-server)
command -v prometheus >/dev/null || missing+=(prometheus)
command -v chromium >/dev/null || missing+=(chromium)
command -v java >/dev/null || missing+=(openjdk-17-jre-headless)
command -v mvn >/dev/null || missing+=(maven)
if [ ${#missing[@]} -gt 0 ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        export DEBIAN_FRONTEND=noninteractive
        # Debian starts a daemon after installing it; the tests start their own, so none is wanted.
        policy=/usr/sbin/policy-rc.d
        [ -e $policy ] || { printf '#!/bin/sh\nexit 101\n' >$policy && chmod +x $policy && trap 'rm -f $policy' EXIT; }
        apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    else
        echo "the tests need: ${missing[*]}; run: sudo apt-get install ${missing[*]}" >&2
    fi
fi

jars=.cache/kafka
pom=ops/dev/kafka/pom.xml
if [ ! -e $jars/.complete ] || [ $pom -nt $jars/.complete ]; then
    if command -v mvn >/dev/null; then
        rm -rf $jars
        if mvn -q -B -f $pom dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$PWD/$jars"; then
            touch $jars/.complete
        else
            echo "the Kafka jars could not be fetched by Maven; tests against Kafka will skip" >&2
        fi
    fi
fi
registry=.cache/registry
artifact=io.apicurio:apicurio-registry-app:3.0.9:tar.gz:all
if [ ! -e $registry/.complete ] && command -v mvn >/dev/null; then
    rm -rf $registry && mkdir -p $registry
    if mvn -q -B dependency:copy -Dartifact=$artifact "-DoutputDirectory=$PWD/$registry" &&
        tar -xzf $registry/*.tar.gz -C $registry; then
        rm -f $registry/*.tar.gz
        touch $registry/.complete
    else
        echo "Apicurio Registry could not be fetched by Maven; tests against a schema registry will skip" >&2
    fi
fi
helm=helm.sh/helm/v3/cmd/helm@v3.17.0
if [ ! -x .cache/helm/helm ] && ! command -v helm >/dev/null; then
    if command -v go >/dev/null; then
        echo "building helm, once: some minutes" >&2
        (cd / && GOBIN=$OLDPWD/.cache/helm go install $helm 2>/dev/null) ||
            echo "helm could not be built by Go; tests of the chart will skip" >&2
    else
        echo "the tests of the chart need helm: install it, or Go 1.23" >&2
    fi
fi
exit 0
