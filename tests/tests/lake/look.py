# What pyarrow and DuckDB say of a folder of objects: one line of JSON.
import glob
import json
import sys

import duckdb
import pyarrow.parquet as pq

folder = sys.argv[1]
objects = []
for path in sorted(glob.glob(folder + "/**/*.parquet", recursive=True)):
    # The columns of the file alone, without those of its folders.
    file = pq.ParquetFile(path)
    groups = [file.metadata.row_group(at) for at in range(file.metadata.num_row_groups)]
    columns = [group.column(at) for group in groups for at in range(group.num_columns)]
    leaves = [file.schema.column(at).path for at in range(len(file.schema))]
    time = file.read(columns=["time"]).column(0).to_pylist()
    objects.append({
        "path": path.removeprefix(folder + "/"),
        "class_uid": sorted(set(file.read(columns=["class_uid"]).column(0).to_pylist())),
        "codecs": sorted({column.compression for column in columns}),
        "rows": file.metadata.num_rows,
        "group_bytes": max((sum(group.column(at).total_compressed_size for at in range(group.num_columns))
                            for group in groups), default=0),
        "is_sorted": time == sorted(time),
        "says_it_is_sorted": [[by.column_index for by in group.sorting_columns] for group in groups]
        == [[leaves.index("time")]] * len(groups),
        "format": file.metadata.format_version,
        "schema": str(file.schema_arrow.remove_metadata()),
    })

sql = duckdb.connect()
# The folders' columns are texts: an account's number begins with zeros.
sql.execute(f"""
    create view lake as select * from read_parquet('{folder}/**/*.parquet', hive_partitioning = true,
        hive_types = {{'accountId': varchar, 'eventDay': varchar, 'region': varchar}}, union_by_name = true)
""")


def rows(query):
    return [list(row) for row in sql.execute(query).fetchall()]


print(json.dumps({
    "objects": objects,
    "partitions": rows("select distinct region, accountId, eventDay from lake order by all"),
    "rows": rows("select count(*), count(distinct metadata.uid), count(distinct raw_data) from lake")[0],
    "of_another_day": rows("select count(*) from lake where strftime(make_timestamp(time * 1000), '%Y%m%d') != eventDay")[0][0],
    "of_another_time": rows("select count(*) from lake where epoch_ms(time_dt) != time")[0][0],
    "of_another_event": rows("""
        select count(*) from lake where metadata.uid != raw_data->>'$.metadata.uid'
            or time != (raw_data->>'$.time')::bigint
            or metadata.version != '1.3.0' or raw_data->>'$.metadata.version' != '1.8.0'
            or unmapped->>'$.chain.seq' != raw_data->>'$.unmapped.chain.seq'
    """)[0][0],
    "observables": rows("select count(*) from lake where len(observables) > 0 and observables[1].value is not null")[0][0],
    "classes": rows("select class_uid, count(*) from lake group by all order by all"),
    "texts": [text for [text] in rows("select raw_data from lake")],
}))
