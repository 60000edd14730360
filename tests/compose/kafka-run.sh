#!/bin/bash
# The start of the image that stands in for apache/kafka: KAFKA_* variables become settings
# and the storage is formatted by the very class that does it there, which is in the jars.
set -euo pipefail
libs='/opt/kafka/libs/*'
log4j=-Dlog4j2.configurationFile=/etc/kafka/docker/log4j2.yaml
setup() {
  java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$libs" kafka.docker.KafkaDockerWrapper setup \
    --default-configs-dir /etc/kafka/docker \
    --mounted-configs-dir /mnt/shared/config \
    --final-configs-dir /opt/kafka/config
}
# As there, a storage that an earlier start has formatted is no failure.
said=$(setup 2>&1) || grep -i "already formatted" <<<"$said" || { echo "$said" >&2; exit 1; }
# Several options are several words.
# shellcheck disable=SC2086
exec java ${KAFKA_HEAP_OPTS:--Xmx1G} -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "$log4j" \
  -cp "$libs" kafka.Kafka /opt/kafka/config/server.properties
