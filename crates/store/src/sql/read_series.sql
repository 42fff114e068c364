SELECT series.id, series.suffix, series.labels, families.name, families.kind, families.help
FROM series
JOIN families ON families.id = series.family
ORDER BY series.id
