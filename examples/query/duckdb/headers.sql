-- The records that carry a header with a value, and the first value of another header of theirs.
-- Variables: topic, header, header_value, other_header. Keys of headers may repeat, so each is looked through.
SELECT "partition", "offset", "timestamp", try(decode("key")) AS "key",
       try(decode(list_filter(headers, lambda h: h.key = getvariable('other_header'))[1].value)) AS other
FROM records
WHERE topic = getvariable('topic')
  AND len(list_filter(headers, lambda h: h.key = getvariable('header')
                                     AND h.value = encode(getvariable('header_value')))) > 0
ORDER BY lineage, "partition", "offset";
