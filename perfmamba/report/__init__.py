"""Tables and figures of the paper, as data: results in, `perfmamba.table.Table` or an Altair chart out."""
