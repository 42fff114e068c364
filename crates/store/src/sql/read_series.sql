SELECT series.id, series.suffix, series.labels, families.name, families.kind, families.help
FROM series
JOIN families ON families.id = series.family
WHERE series.id >= ?1
ORDER BY series.id
LIMIT ?2
