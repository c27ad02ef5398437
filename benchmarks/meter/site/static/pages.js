'use strict';

/* Pages of our own: asv's script shows a registered page, but hides only the pages it knows. */
$(document).ready(function () {
    /* asv's own pages are laid out for a wide window; ours follow the width of a phone. */
    var viewport = $('<meta name="viewport" content="width=device-width, initial-scale=1">');

    function leave() {
        $('.site-page').hide();
        $('body').removeClass('shows-site-page');
        viewport.detach();
    }

    $('.site-page').each(function () {
        var page = $(this);
        $.asv.register_page(page.data('page'), function () {
            leave();
            $('#title').text(page.data('title'));
            $('body').addClass('shows-site-page');
            $('head').append(viewport);
            page.show();
        });
    });

    /* Bound before asv's own handler, which shows whatever page comes next. */
    $(window).on('hashchange', leave);
});
